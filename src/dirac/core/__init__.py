"""What every other package may use: it knows no system, no database and no HTTP framework."""

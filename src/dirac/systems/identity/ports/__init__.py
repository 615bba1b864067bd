"""What the logic of the identity system needs from outside, and the records that pass: `unit` has it all."""

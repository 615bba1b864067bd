"""Settings, and the files they name: there, of the right kind, and not for everybody."""

from __future__ import annotations

from dirac.server.doctor.model import Ailment, Check, Patient, in_thread


def checks(patient: Patient) -> list[Check]:
    """Return the checks of this server's files."""
    found = [
        Check("settings.file", in_thread(_settings)),
        Check("settings.master_key", in_thread(_master_key)),
        Check("settings.sandboxes", in_thread(_sandbox_settings)),
    ]
    database = patient.settings.database
    if database.url_file or database.migration_url_file:
        found.append(Check("settings.database", in_thread(_database)))
    if patient.settings.worker.runner == "celery":
        found.append(Check("settings.broker", in_thread(_broker)))
    return found


def _settings(patient: Patient) -> str:
    mode = patient.file.stat().st_mode
    if mode & 0o022:
        raise Ailment(
            f"{patient.file} has mode {mode & 0o777:o}",
            cause="Others than its owner may change what the server does",
            mend=f"chmod go-w {patient.file}",
        )
    return f"{patient.file}"


def _master_key(patient: Patient) -> str:
    return f"{len(patient.settings.master_key_bytes())} bytes"


def _sandbox_settings(patient: Patient) -> str:
    patient.settings.sandbox_settings()
    return f"plugin {patient.settings.sandboxes.type}"


def _database(patient: Patient) -> str:
    patient.settings.database_url()
    patient.settings.migration_url()
    return "the addresses of the database are kept from others"


def _broker(patient: Patient) -> str:
    patient.settings.broker_url()
    return "the address of the broker is kept from others"

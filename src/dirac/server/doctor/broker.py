"""The broker: reachable, with the right to use its queue, and somebody who listens."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from dirac.server.doctor.model import Ailment, Check, Patient, in_thread

if TYPE_CHECKING:
    from celery import Celery
    from kombu.connection import Connection

_PATIENCE = 8  # seconds


def checks(patient: Patient) -> list[Check]:
    """Return the checks of the broker; none if background work is done in the server's process."""
    if patient.settings.worker.runner != "celery":
        return []
    return [
        Check("broker.connection", in_thread(_connection)),
        Check("broker.queue", in_thread(_queue)),
        Check("broker.consumers", in_thread(_consumers)),
    ]


def _connection(patient: Patient) -> str:
    with _connected(patient) as (_, connection):
        properties = connection.connection.server_properties
        return f"{_place(patient)}, {properties.get('product')} {properties.get('version')}"


def _queue(patient: Patient) -> str:
    """Declare the queue as servers and workers do: the right to, and the same type as it has."""
    from amqp.exceptions import AccessRefused, PreconditionFailed

    with _connected(patient) as (app, connection):
        name = app.conf.task_default_queue
        try:
            app.amqp.queues[name].bind(connection.default_channel).declare()
        except AccessRefused as error:
            raise Ailment(
                f"the queue {name!r} may not be declared: {error.reply_text}",
                cause="The user lacks rights in the virtual host",
                mend=f"rabbitmqctl set_permissions -p {_vhost(patient)!r} {_user(patient)} '.*' '.*' '.*'",
            ) from None
        except PreconditionFailed as error:
            raise Ailment(
                f"the queue {name!r} is of another kind: {error.reply_text}",
                cause="It was made with other settings; the kind of a queue cannot be changed",
                mend=f"rabbitmqctl delete_queue -p {_vhost(patient)!r} {name} (what it held is sent again)",
            ) from None
        return f"{name!r} of type {patient.settings.worker.queue_type}"


def _consumers(patient: Patient) -> str:
    from amqp.exceptions import NotFound

    with _connected(patient) as (app, connection):
        name = app.conf.task_default_queue
        try:
            channel: Any = connection.default_channel
            found = channel.queue_declare(queue=name, passive=True)
            count, waiting = found.consumer_count, found.message_count
        except NotFound:
            count = waiting = 0
        if not count:
            raise Ailment(
                f"nobody listens to the queue {name!r}; {waiting} messages wait",
                cause="No worker runs, or it uses another broker, virtual host or queue type",
                mend="sv start dirac-worker-1 (or: dirac-server worker), and look into its log",
            )
        return f"{count} listen, {waiting} messages wait"


@contextmanager
def _connected(patient: Patient) -> Iterator[tuple[Celery, Connection]]:
    from amqp.exceptions import AccessRefused, AMQPError, NotAllowed
    from kombu.connection import Connection

    from dirac.server.celery import make_celery

    app = make_celery(patient.settings)
    connection: Any = Connection(  # type: ignore[no-untyped-call]
        app.conf.broker_url,
        ssl=app.conf.broker_use_ssl,
        connect_timeout=_PATIENCE,
        transport_options={"max_retries": 0, "read_timeout": _PATIENCE, "write_timeout": _PATIENCE},
    )
    try:
        try:
            connection.connect()
        except AccessRefused:
            raise Ailment(
                f"{_place(patient)} refuses the user {_user(patient)}",
                cause="The user or the password is wrong",
                mend=f"rabbitmqctl change_password {_user(patient)} (the one in `worker.broker_url_file`)",
            ) from None
        except NotAllowed as error:
            raise Ailment(
                f"{_user(patient)} may not use {_vhost(patient)!r} of {_place(patient)}: {error.reply_text}",
                cause="The virtual host does not exist, or the user has no rights in it",
                mend=f"rabbitmqctl add_vhost {_vhost(patient)!r}; "
                f"rabbitmqctl set_permissions -p {_vhost(patient)!r} {_user(patient)} '.*' '.*' '.*'",
            ) from None
        except ssl.SSLCertVerificationError as error:
            raise Ailment(
                f"the certificate of {_place(patient)} is not accepted: {error.verify_message}",
                cause="It is of another authority or for another host",
                mend="Name the authority in `worker.broker_ca_file`, and the host as the certificate does",
            ) from None
        except (AMQPError, OSError) as error:
            raise Ailment(
                f"{_place(patient)} does not answer: {error}",
                cause="The broker does not run, listens elsewhere, or a firewall is in between",
                mend="systemctl status rabbitmq-server; check the address in `worker.broker_url_file`",
            ) from None
        yield app, connection
    finally:
        connection.collect(1)


def _part(get: Callable[[Any], object]) -> Callable[[Patient], str]:
    return lambda patient: str(get(urlsplit(patient.settings.broker_url())))


_user = _part(lambda parts: parts.username)
_vhost = _part(lambda parts: parts.path[1:].replace("%2F", "/").replace("%2f", "/") or "/")
_place = _part(lambda parts: f"{parts.hostname}:{parts.port or (5671 if parts.scheme == 'amqps' else 5672)}")

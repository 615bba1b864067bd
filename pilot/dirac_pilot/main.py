"""The entry point."""

from __future__ import absolute_import, division, print_function

import os
import sys

from .agent import Signals
from .compat import monotonic
from .deadline import Hung
from .errors import PilotError, Stopped, UsageError
from .report import Report
from .secret import take_secret
from .settings import help_text, read_settings
from .steps import STEPS, Pilot
from .version import VERSION


def main():
    """Run the pilot and end the process with its exit code."""
    code = run(sys.argv[1:], os.getcwd(), dict(os.environ))
    if Hung.happened:
        os._exit(code)
    sys.exit(code)


def run(arguments, workdir, environ):
    """Run all steps and return the exit code: the agent's own if it came to run, else see README.md."""
    try:
        settings, warnings = read_settings(arguments, workdir, environ)
    except UsageError as error:
        sys.stderr.write("dirac-pilot: %s\n" % error)
        return 2
    if settings.get("help"):
        print(help_text())
        return 0
    if settings["ca_file"]:  # for the agent as well, and whatever it starts
        environ = dict(environ, DIRAC_CA_FILE=os.path.join(workdir, settings["ca_file"]))
    report = Report(workdir)
    signals = Signals(report.say)
    try:
        report.about(settings)
        secret = early_secret(report, workdir)
        report.say("version %s, pilot %s" % (VERSION, settings["pilot_stamp"]))
        for warning in warnings:
            report.say(warning)
        if settings["debug"]:
            report.say("settings %r" % sorted(settings.items()))
        code = run_steps(Pilot(settings, workdir, environ, report, signals, secret))
    except Stopped as error:  # between two steps
        report.say(str(error))
        code = 128 + error.signum
    signals.ignore()
    report.end(code)
    report.say("ends with exit code %d" % code)
    return code


def early_secret(report, workdir):
    """Take the secret now, before anything else can happen, and return a function that yields it.

    That function raises what went wrong, so that it shows as the failure of the step that needs the secret.
    """
    try:
        secret = take_secret(workdir)
    except PilotError as error:
        failure = error

        def fail():
            raise failure

        return fail
    report.hide(secret)
    return lambda: secret


def run_steps(pilot):
    """Run the steps until one fails, report each, and return the exit code."""
    for name, function, code_if_failed in STEPS:
        begin = monotonic()
        try:
            facts = function(pilot)
        except Stopped as error:
            pilot.report.step(name, monotonic() - begin, reason=str(error))
            return 128 + error.signum
        except Exception as error:  # a defect must show up in the report as well
            if not isinstance(error, PilotError) or pilot.settings["debug"]:
                import traceback  # costs 20 ms, which a run that goes well does not pay

                pilot.report.say(traceback.format_exc())
            words = str(error) if isinstance(error, PilotError) else "%s: %s" % (type(error).__name__, error)
            pilot.report.step(name, monotonic() - begin, reason=words)
            return code_if_failed
        pilot.report.step(name, monotonic() - begin, facts)
    return pilot.exit_code

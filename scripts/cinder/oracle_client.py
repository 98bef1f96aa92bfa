"""Cinder's drivers for a Python that is not Cinder's: the oracle's batch mode as a running process."""
import contextlib
import json
import os
import shutil
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))


def environment(release):
    """The folder in which setup.sh makes the environment of a release, unless CINDER<release>_VENV names one."""
    cache = os.environ.get('XDG_CACHE_HOME') or os.path.join(os.environ.get('HOME', '/tmp'), '.cache')
    return os.environ.get('CINDER%s_VENV' % release) or os.path.join(cache, 'ashlar', 'cinder-%s' % release)


class OracleError(Exception):
    """What Cinder raised: its exception's name and text."""


class Oracle:
    """One Cinder release; `run` does one job at a time and gives its result."""

    def __init__(self, release):
        self.release = str(release)
        self.python = os.path.join(environment(release), 'bin', 'python')
        if not os.path.exists(self.python):
            raise SystemExit('no Cinder %s in %s: run scripts/cinder/setup.sh %s' %
                             (release, environment(release), release))
        self.state = tempfile.mkdtemp(prefix='oracle-%s-' % release)
        self.log = open(os.path.join(self.state, 'log'), 'w+')
        self.process = subprocess.Popen(
            [self.python, os.path.join(HERE, 'oracle.py'), 'batch', '-', '--state', self.state],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True)

    def version(self):
        out = subprocess.run([self.python, os.path.join(HERE, 'oracle.py'), 'version'], stdout=subprocess.PIPE,
                             check=True, text=True).stdout
        return json.loads(out)

    def run(self, command, **job):
        """The job's result; raises OracleError with what Cinder said."""
        try:
            self.process.stdin.write(json.dumps({'command': command, **job}) + '\n')
            self.process.stdin.flush()
            result = json.loads(self.process.stdout.readline())
        except (OSError, ValueError):
            self.log.seek(0)
            raise OracleError('Cinder %s went away:\n%s' % (self.release, self.log.read()[-2000:])) from None
        if 'error' in result:
            raise OracleError('Cinder %s: %s: %s' % (self.release, result['error'], result['message']))
        return result

    def close(self):
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self.process.wait()
        self.log.close()
        shutil.rmtree(self.state, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

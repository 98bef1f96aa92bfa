"""The `ashlar` binary for a Python script: a home folder and its commands."""
import base64
import json
import os
import subprocess


class AshlarError(Exception):
    """What the command printed on stderr."""


class Ashlar:
    """A home in which commands run; the binary is named by the variable ASHLAR."""

    def __init__(self, home, binary=None):
        self.home = home
        self.binary = binary or os.environ.get('ASHLAR') or 'ashlar'
        self.repository = os.path.join(home, 'repository')

    def command(self, *args, options=None):
        argv = [self.binary, '--home', self.home]
        for key, value in (options or {}).items():
            argv += ['-o', '%s=%s' % (key, value)]
        return argv + list(args)

    def run(self, *args, options=None):
        """The command's result: what `-f json` prints, None where it prints nothing."""
        argv = self.command('-f', 'json', *args, options=options)
        p = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if p.returncode:
            raise AshlarError('%s: exit status %d\n%s' % (' '.join(argv), p.returncode, p.stderr.strip()))
        return json.loads(p.stdout) if p.stdout.strip() else None

    def adopt(self, path, name):
        """A volume from an image file; gives its ID."""
        return self.run('volume', 'create', '--file', path, name)['id']

    def backup(self, volume, name, incremental=False, options=None):
        """The new backup's ID."""
        kind = ['--incremental'] if incremental else []
        return self.run('volume', 'backup', 'create', '--name', name, *kind, volume, options=options)['id']

    def restore_new(self, backup, name, options=None):
        """Restores into a new volume of that name; gives the path of its file."""
        self.run('volume', 'backup', 'restore', backup, '--name', name, options=options)
        return self.run('volume', 'show', name)['path']

    def export_record(self, backup, path):
        """Writes the record to a file as JSON; gives what Cinder would make of it."""
        record = self.run('volume', 'backup', 'record', 'export', backup)
        with open(path, 'w') as f:
            json.dump(record, f)
        return decoded(record)

    def import_record(self, record):
        self.run('volume', 'backup', 'record', 'import', record['backup_service'], record['backup_url'])


def decoded(record):
    """The fields in a record's backup_url."""
    return json.loads(base64.b64decode(record['backup_url']))

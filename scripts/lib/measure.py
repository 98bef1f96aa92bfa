"""Whole commands, timed as a user would: until what they wrote is on the disk."""
import json
import os
import statistics
import subprocess
import tempfile
import time


def cache_folder():
    """As scripts/lib/folders.sh has it."""
    cache = os.environ.get('XDG_CACHE_HOME') or os.path.join(os.environ.get('HOME') or '/tmp', '.cache')
    return os.path.join(cache, 'ashlar')


def release_binary(ceph=False):
    """The variable ASHLAR, else a release build of this clone, with Ceph where that is asked for."""
    if os.environ.get('ASHLAR'):
        return os.path.abspath(os.environ['ASHLAR'])
    target = os.environ.get('CARGO_TARGET_DIR') or os.path.join(cache_folder(), 'target')
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    features = ['--features', 'backup-cli/rbd'] if ceph else []
    subprocess.run(['cargo', 'build', '--release', '--quiet', '-p', 'backup-cli', '-p', 'ashlar-benches', '--bins',
                    *features], check=True, cwd=root,
                   env={**os.environ, 'CARGO_TARGET_DIR': target})
    return os.path.join(target, 'release', 'ashlar')


def parts(binary, image):
    """MB/s of each part of a backup by itself, on all cores at once, by the program `parts` that is built beside the
    binary; None where it is not there."""
    program = os.path.join(os.path.dirname(binary), 'parts')
    if not os.path.exists(program):
        return None
    return json.loads(subprocess.run([program, image], check=True, stdout=subprocess.PIPE, text=True).stdout)


class Run:
    """One command: wall seconds until the `sync` after it, CPU seconds, peak resident set in bytes, its stdout."""

    def __init__(self, wall, cpu, rss, output):
        self.wall, self.cpu, self.rss, self.output = wall, cpu, rss, output


def timed(argv, sync=True, env=None, cwd=None):
    """Runs the command; raises with its stderr when it fails."""
    if sync:
        os.sync()       # what was written before is not this command's
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.monotonic()
        p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=env, cwd=cwd)
        _, status, usage = os.wait4(p.pid, 0)
        p.returncode = os.waitstatus_to_exitcode(status)
        if sync:
            os.sync()
        wall = time.monotonic() - started
        out.seek(0)
        err.seek(0)
        if p.returncode:
            raise SystemExit('%s: exit status %d\n%s%s' % (
                ' '.join(argv), p.returncode, out.read().decode(errors='replace')[-2000:],
                err.read().decode(errors='replace')[-2000:]))
        return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, out.read().decode())


def median(values):
    return statistics.median(values)


def filesystem(path):
    """(device, type) of the filesystem that a folder lies on."""
    path, best = os.path.realpath(path), ('', '', '')
    with open('/proc/self/mounts') as f:
        for line in f:
            device, mount, kind = line.split()[:3]
            mount = mount.encode().decode('unicode_escape')
            inside = path == mount or path.startswith(mount.rstrip('/') + '/')
            if inside and len(mount) >= len(best[0]):
                best = (mount, device, kind)
    return best[1], best[2]


def in_memory(kind):
    """Whether a type of filesystem keeps nothing on a disk."""
    return kind in ('tmpfs', 'ramfs', 'devtmpfs', 'hugetlbfs')


def machine(folder):
    """Lines that say on what was measured."""
    cpu = 'unknown CPU'
    with open('/proc/cpuinfo') as f:
        for line in f:
            if line.startswith('model name'):
                cpu = line.split(':', 1)[1].strip()
                break
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2 ** 30
    device, kind = filesystem(folder)
    where = '%s on %s' % (kind, device)
    if in_memory(kind):
        where = '**%s: memory, not a disk; nothing here says how fast a disk would be**' % kind
    return ['%s, %d cores usable, %.1f GiB RAM, Linux %s' % (cpu, len(os.sched_getaffinity(0)), memory,
                                                              os.uname().release),
            'filesystem: %s' % where,
            'load average at the start: %.2f' % os.getloadavg()[0]]


def durable_rate(source, folder, size=2 ** 30):
    """MB/s of a file of that size written and synced by dd, from a source that is in the page cache."""
    target = os.path.join(folder, 'durable-rate')
    os.sync()
    started = time.monotonic()
    subprocess.run(['dd', 'if=' + source, 'of=' + target, 'bs=1M', 'count=%d' % (size >> 20), 'conv=fsync'],
                   check=True, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    seconds = time.monotonic() - started
    written = os.path.getsize(target)
    os.remove(target)
    return written / 1e6 / seconds


def stored_bytes(folder):
    """The sum of all files' lengths."""
    return sum(os.path.getsize(os.path.join(d, f)) for d, _, files in os.walk(folder) for f in files)

"""Many of the oracle's commands in one process, so that Python and Cinder start once.

A job is a JSON object: `command`, optionally `job` (a label, given back), `keep_state` (true: with the rows that the job
before left; otherwise the database is as new) and the options of that command by name, `_` for `-`:

  [{"command": "restore", "job": "zlib full, new", "driver": "posix", "repo": "/r", "record": ["/r/full.yaml"],
    "out": "/tmp/out", "size": 4194304, "new": true}, ...]

A list is an option given several times, true a flag. Each result is the command's own output with `job`, or
`{"job", "error", "message"}`: a job that fails does not stop the others. The exit status is 0 when all were done.

With `-` for the file, a job is read from each line of stdin and its result printed on one line at once.
"""
import json
import sys
import time

import oracle_commands
import oracle_process


def main(args, parser):
    oracle_process.start(args.state, args.debug)
    if args.jobs == '-':
        return run_lines(parser)
    with open(args.jobs) as f:
        jobs = json.load(f)
    results = [run_job(parser, job) for job in jobs]
    text = json.dumps(results, indent=1, default=str)
    if args.results:
        with open(args.results, 'w') as f:
            f.write(text + '\n')
    else:
        print(text)
    return 1 if any('error' in r for r in results) else 0


def run_lines(parser):
    status = 0
    while True:
        line = sys.stdin.readline()
        if not line:
            return status
        result = run_job(parser, json.loads(line))
        status = 1 if 'error' in result else status
        print(json.dumps(result, default=str), flush=True)


def run_job(parser, job):
    job = dict(job)
    label = job.pop('job', None)
    keep = job.pop('keep_state', False)
    started = time.monotonic()
    try:
        args = parse(parser, job)
        if not keep:
            oracle_process.reset()
        oracle_process.configure(args)
        result = getattr(oracle_commands, 'cmd_' + args.command.replace('-', '_'))(args)
        if isinstance(result, list):
            result = {'rows': result}
    except Exception as e:
        result = {'error': type(e).__name__, 'message': str(e)}
    return {'job': label, **result, 'job_seconds': round(time.monotonic() - started, 3)}


def parse(parser, job):
    """A job's options by the command line's own rules."""
    argv = [job.pop('command')]
    for key, value in job.items():
        option = '--' + key.replace('_', '-')
        if value is None or value is False:
            continue
        if value is True:
            argv.append(option)
        elif isinstance(value, list):
            argv += ['%s=%s' % (option, v) for v in value]
        else:
            argv.append('%s=%s' % (option, value))
    try:
        return parser.parse_args(argv)
    except SystemExit:
        raise ValueError('not a job: %s' % ' '.join(argv)) from None

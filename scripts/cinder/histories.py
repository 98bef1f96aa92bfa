#!/usr/bin/env python3
"""Random histories of a volume: Ashlar writes the backups, Cinder 29 restores every version.

  ASHLAR=path/to/ashlar histories.py [--histories N] [--seconds S] [--seed SEED] [--keep]

Each history makes a volume, changes, grows and shrinks it, and backs it up, full or incrementally, with any codec,
level, chunk and block size; Cinder's unmodified driver restores every version into a new and into a dirty target, and
Ashlar into a new one; all bytes are compared. A history's seed is printed with it: `--seed SEED --histories 1` repeats
it. With --seconds, histories go on until that time has passed. The last line is `N passed, N failed`.
"""
import argparse
import os
import random
import shutil
import sys
import tempfile
import time

sys.dont_write_bytecode = True
import compat  # noqa: E402
import images  # noqa: E402
from ashlar_client import Ashlar, AshlarError  # noqa: E402
from images import KIB as K  # noqa: E402
from oracle_client import Oracle, OracleError  # noqa: E402

RELEASE = 29
LEVELS = {'none': [None], 'zlib': [None, 1, 3, 6, 9], 'bzip2': [None, 1, 9], 'zstd': [None, -5, 1, 3, 12]}


def changed(dice, image, block):
    """The image with a few changes, some on borders of blocks; sometimes of another length."""
    if dice.random() < 0.25:
        size = dice.randrange(1, 3 * 1024 * K)
        image = image[:size] + bytes(max(0, size - len(image)))
    spec = []
    for _ in range(dice.randrange(8)):
        at = dice.randrange(len(image))
        if dice.random() < 0.5:
            at = at // block * block
        if dice.random() < 0.15:
            at = max(0, len(image) - dice.randrange(1, 2 * block))
        length = dice.choice([1, 511, block - 1, block, 3 * block, dice.randrange(1, 600 * K)])
        spec.append((dice.choice(['rand', 'text', 'zero', 'zero']), at, length))
    return images.edit(image, dice.getrandbits(32), spec)


def write_history(suite, seed):
    """Writes the backups of one history; answers its chains, one for each full backup."""
    dice = random.Random(seed)
    name = 'seed-%d' % seed
    ashlar = Ashlar(os.path.join(suite.work, name))
    volume_file, volume = suite.path('volume'), None
    image = bytes(dice.randrange(1, 2 * 1024 * K))
    block, chains = 0, []
    for number in range(dice.randrange(3, 9)):
        full = not chains or dice.random() < 0.2
        if full:
            block = dice.choice([4 * K, 32 * K, 64 * K])
            chains.append(compat.Chain('%s, chain %d' % (name, len(chains)), ashlar.repository))
        image = changed(dice, image, block)
        codec = dice.choice(list(LEVELS))
        level = dice.choice(LEVELS[codec])
        options = {'backup.compression': codec, 'backup.hash_block_size': block,
                   'backup.chunk_size': block * dice.randrange(1, 1 + 512 * K // block)}
        if level is not None:
            options['backup.level'] = level
        dense = dice.random() < 0.3
        if volume is None:
            compat.write_image(volume_file, image, dense)
            volume = ashlar.adopt(volume_file, 'source')
        label = 'version %d, %s %s' % (number, codec, 'default' if level is None else level)
        suite.ashlar_link(ashlar, chains[-1], volume, volume_file, label, image, options, dense)
        chains[-1].links[-1].block = block
    os.remove(volume_file)
    for chain in chains:
        for at, link in enumerate(chain.links):
            restored_by_ashlar(suite, ashlar, chain, at, link)
    return chains


def restored_by_ashlar(suite, ashlar, chain, at, link):
    case = '%s: link %d (%s) restored by ashlar' % (chain.name, at, link.label)
    try:
        path = ashlar.restore_new(link.id, link.id)
        suite.report.case(case, compat.difference(compat.read(path), link.image))
        os.remove(path)
    except (AshlarError, OSError) as e:
        suite.report.case(case, str(e))


def run_history(suite, oracle, seed):
    failed = suite.report.failed
    print('=== seed %d' % seed, flush=True)
    try:
        suite.chains = write_history(suite, seed)
    except (AshlarError, OSError, ValueError, KeyError, TypeError) as e:
        suite.report.case('seed %d: written' % seed, '%s: %s' % (type(e).__name__, e))
    else:
        suite.restore_all_by_cinder(oracle)
    if suite.report.failed > failed:
        print('to repeat it: scripts/cinder/histories.py --seed %d --histories 1' % seed, flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--histories', type=int, default=3, metavar='N')
    p.add_argument('--seconds', type=int, default=0, help='go on until that time has passed')
    p.add_argument('--seed', type=int, help='of the first history; those after it count up')
    p.add_argument('--keep', action='store_true', help='keep the working folder')
    args = p.parse_args()
    first = random.SystemRandom().getrandbits(32) if args.seed is None else args.seed
    work = tempfile.mkdtemp(prefix='ashlar-histories-')
    suite = compat.Suite(work, None)
    started, number = time.monotonic(), 0
    oracle = Oracle(RELEASE)
    try:
        while number < args.histories or time.monotonic() - started < args.seconds:
            run_history(suite, oracle, first + number)
            number += 1
            if suite.report.failed:
                break
            # A link holds its image; what is right is not needed any more.
            suite.chains = []
            shutil.rmtree(os.path.join(work, 'seed-%d' % (first + number - 1)))
    except OracleError as e:
        suite.report.case('seed %d' % (first + number), str(e))
    finally:
        oracle.close()
        if args.keep:
            print('kept: %s' % work)
        else:
            shutil.rmtree(work, ignore_errors=True)
    print('%d histories, %.0f s' % (number, time.monotonic() - started))
    print('%d passed, %d failed' % (suite.report.passed, suite.report.failed))
    return 1 if suite.report.failed or not suite.report.passed else 0


if __name__ == '__main__':
    sys.exit(main())

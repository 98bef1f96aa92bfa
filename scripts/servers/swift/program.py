"""Runs one of Swift's programs with a swift.conf that is not in /etc/swift: by themselves they take storage policies and
limits from there alone.

program.py FOLDER MODULE CONF...
"""
import importlib
import sys

from swift.common import utils

utils.set_swift_dir(sys.argv[1])

# Before anything else copies what they say.
from swift.common import constraints  # noqa: E402
from swift.common import storage_policy  # noqa: E402

constraints.reload_constraints()
storage_policy.reload_storage_policies()

module = importlib.import_module(sys.argv[2])
sys.argv = [sys.argv[2]] + sys.argv[3:]
sys.exit(module.main())

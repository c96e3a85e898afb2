"""Prints the version of the C library, that of Python, and which modules of the standard library load that need libraries."""

import importlib
import os
import platform
import sys
import sysconfig

print(os.confstr("CS_GNU_LIBC_VERSION"))
print(sys.implementation.name, platform.python_version(), sys.version_info.releaselevel, sysconfig.get_config_var("SOABI"))
for name in ("_bz2", "_ctypes", "_decimal", "_elementtree", "_hashlib", "_lzma", "_sqlite3", "_ssl", "_uuid", "pyexpat", "zlib"):
    try:
        importlib.import_module(name)
    except ImportError:
        continue
    print(name)

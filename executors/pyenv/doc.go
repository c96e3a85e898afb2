// Package pyenv makes Python environments from lock files, with uv.
//
// The text of a lock goes in: requirements with exact versions and hashes, as [Env.Lock]
// makes them. The path of an interpreter that finds exactly these packages comes out. An
// environment is made once: the name of its folder is a digest of the lock, the version
// of Python and the platform.
//
//	Dir/KEY            the environment
//	Dir/KEY/.complete  written last; an environment without it is made again
//	Dir/KEY.lock       held by the process that makes it, and by the uv that it started
//	Dir/fetch.lock     held while packages for an environment are fetched
//	Dir/compile.lock   held while files are shared and modules compiled
//	Dir/python-*.json  the interpreter that was found, to avoid calling uv each time
//
// [Env.Lay] writes an environment for another place, such as an image: its files are the
// same wherever it runs, and the environment is not used here.
//
// [Env.Missing] returns what has to be installed, without a network. Environments share
// the files of common packages, and their bytecode, by hard links: nobody changes a file
// of an environment.
//
// All of it is a cache and may be deleted at any time when nothing runs.
//
// The package does not choose where packages come from: uv reads the user's own
// configuration and environment for that. It writes no configuration, leaves uv's cache
// where it is, and removes old environments only when asked, see [Env.Collect]. An
// environment cannot be moved, so it is made in its final place. Modules are compiled to
// bytecode when they are installed, since steps do not write any.
package pyenv

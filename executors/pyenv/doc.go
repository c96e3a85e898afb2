// Package pyenv makes Python environments out of lock files, with uv.
//
// In goes the text of a lock: requirements with exact versions and hashes, as
// [Env.Lock] makes them. Out comes the path of an interpreter that finds exactly
// these packages. An environment is made once: its folder is named by what it
// is made of, that is the lock, the version of Python and the platform.
//
//	Dir/KEY            the environment
//	Dir/KEY/.complete  written last; an environment without it is made again
//	Dir/KEY.lock       held by whoever makes it, and by the uv that it started
//	Dir/fetch.lock     held by whoever fetches packages for an environment
//	Dir/compile.lock   and by whoever shares files with the others and compiles modules
//	Dir/python-*.json  which interpreter was found, to save asking uv each time
//
// [Env.Lay] lays out an environment for another place, such as an image: its files
// are the same wherever that is done, and it is not used here.
//
// [Env.Missing] tells what it takes to make one, without a network. Environments share
// the files of packages that they have in common, and what these were compiled to, by
// hard links: nobody changes a file of an environment.
//
// All of it is a cache and may be deleted at any time when nothing runs.
//
// The package does not choose where packages come from: uv reads the user's own
// configuration and environment for that. It writes no configuration, leaves uv's
// cache where it is, and cleans up old environments only when asked, see
// [Env.Collect]. An environment cannot be moved, so it is made in its final place. Modules are compiled to
// bytecode when they are installed, since steps do not write any.
package pyenv

// Package containerd runs units in containers of the local containerd.
//
// The input is an [executors.Task]. The output is a container in tenon's own namespace
// and the files of the run's folder. The package keeps nothing in memory that it cannot
// read again from containerd or the folder, so it finds everything again after tenon
// was killed.
//
//	Dir                  as in package local
//	Dir/container.json   identifies the container, written before the program starts
//	Dir/hosts            /etc/hosts of a container without a network
//	Dir/notes/fault      why the program could not be started
//	Dir/notes/exit       the exit status, which containerd 2 forgets when it restarts
//	Dir/verdict          why tenon ended it, if it did
//
// # What a program finds
//
// The image that the unit names, or the one built for its component, see package image.
// Below /tenon it finds the files of its run:
//
//	/tenon/run        the first process: log, secrets, signals (cmd/tenon-run)
//	/tenon/step.json  the document, with the paths below
//	/tenon/code       the unit's files, a layer of the image
//	/tenon/in/PORT    inputs, read-only
//	/tenon/data/PATH  data files, read-only, below their common folder;
//	                  a folder without other files is mounted as a whole
//	/tenon/out        outputs
//	/tenon/notes      metrics and progress
//	/tenon/scratch    scratch, also /tmp, $TMPDIR and $HOME
//	/tenon/secrets    in memory
//	/tenon/log        standard output and error; later parts in /tenon/log.more
//
// # Isolation
//
// A unit has no network unless it asks for one, is a service or reads an endpoint. With
// a network, it shares that of the machine, including its abstract Unix sockets. Its
// root file system and its inputs are read-only. The program runs as an unprivileged
// user without capabilities, with containerd's default seccomp profile, in its own
// namespaces and in its own control group, which limits memory, CPU and processes. No
// secret is part of a specification: secrets are passed in files in memory, which stay
// until the container is removed. A crashing program leaves no core dump on disk.
//
// Tenon reads as root what a program leaves behind, but follows none of its symbolic
// links.
//
// # How a container is started
//
// The executor creates the container and its task, writes container.json, and only then
// starts the program. So whenever tenon is killed, either the program has never run and
// the next apply starts it, or the task state finds it. The task of a program that has
// ended is kept, because only the task knows how it ended. Destroy removes it.
//
// # What it does not do
//
//   - It does not retry and has no timeouts: the engine does that.
//   - Only Wait enforces needs.disk, by measuring, as in the process executor.
//   - It uses containerd only on this machine, through its socket.
package containerd

// Package containerd runs units in containers of the local containerd.
//
// In goes an [executors.Task]; out come a container in tenon's own namespace and
// the files of the run's folder. The package keeps nothing in memory that it
// could not do without: every question is answered by containerd and from the
// folder, so a tenon that was killed finds all of it again.
//
//	Dir                  as package local has it
//	Dir/container.json   which container it is, written once it can be started
//	Dir/hosts            names that it finds in /etc/hosts if it has no network
//	Dir/notes/fault      why the program could not be started
//	Dir/notes/exit       the exit status: containerd 2 forgets it if it is started again
//	Dir/verdict          why tenon ended it, if it did
//
// # What a program finds
//
// The image that the unit names, or one made for its component, see package
// image; and below /tenon what belongs to this run:
//
//	/tenon/run        the first process: log, secrets, signals (cmd/tenon-run)
//	/tenon/step.json  the document; its paths are those below
//	/tenon/code       the unit's files, a layer of the image
//	/tenon/in/PORT    inputs, read-only
//	/tenon/data/PATH  data files, read-only, below the folder they have in common;
//	                  a folder that holds nothing else is there as a whole
//	/tenon/out        outputs
//	/tenon/notes      metrics and progress
//	/tenon/scratch    scratch, also /tmp, $TMPDIR and $HOME
//	/tenon/secrets    in memory
//	/tenon/log        standard output and error
//
// # Isolation
//
// A unit has no network unless it says so, is a service or reads an endpoint;
// then it has the machine's, with the sockets that have a name and no path. Its
// root file system and all it reads are read-only.
// It runs as a user without rights, with no capabilities, with containerd's
// default seccomp profile, in namespaces and a control group of its own, which
// bounds memory, cores and processes. Secrets are in no specification: they are
// handed over in files in memory, which stay until the container is removed. What
// a program has in memory is not written to a disk when it crashes.
//
// What a program leaves, tenon reads as root, but follows no link of it.
//
// # How a container is started
//
// The container and its task are made, container.json is written, and only then
// the program is let go. So at whatever moment tenon is killed, either the
// program never ran and the next apply starts it, or it can be found. A task is
// kept when its program has ended, for it alone knows how; Destroy removes it.
//
// # What it does not do
//
//   - It has no retries and no timeouts: those are the engine's.
//   - needs.disk is enforced by Wait, which measures, as the process executor does.
//   - It reaches containerd by its socket, on this machine only.
package containerd

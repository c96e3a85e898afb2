// Package host is the part of the executor ssh that runs on its hosts, in tenon-host. It
// starts jobs and services as processes, which it leaves to package process, or in containers, which
// it leaves to package containerd, and keeps what they read.
//
// It speaks HTTP/2 over its standard input and output, which are a channel of an ssh
// connection: so many requests share one process, data is only sent as fast as it is read,
// and a request that is canceled ends on the host too. Nothing listens on the network.
//
// Everything is in one folder that only its user can read, by default ~/.cache/tenon/ssh:
//
//	programs/DIGEST  tenon-host, tenon-run and what units run, by their digests
//	artifacts        inputs, code and outputs, by their digests, see package artifact
//	trees/DIGEST     packages and interpreters of Python
//	environments     Python environments, made of trees
//	files/DIGEST     other names of the files in artifacts that are folders
//	tree-files       the same of trees
//	blobs/DIGEST     layers of images, until containerd has them
//	used             who has used what, and when
//	kept/KEY         what services keep for their later versions
//	runs/RUN         a task: host.json, and what the executor that runs it has in the folder of a run
//	autostop         when the host stops itself, and whether it is needed
//	lock             held while a task is admitted and started, and while one is removed
//
// The process ends with its connection. It keeps nothing in memory that another one could
// not find in the folder, so what runs continues, and the next connection finds them.
package host

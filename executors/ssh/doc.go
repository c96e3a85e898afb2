// Package ssh runs jobs and services on machines that are reached over ssh: as processes, or in
// containers if they have an image and the machine has containerd.
//
// It copies two programs of Tenon to a host, by digest: tenon-host, which answers requests
// over the connection (package host), and tenon-run, from which programs are started as on
// this machine. Nothing else is installed, nothing listens there, and processes need no
// rights but those of the user.
//
// What a task reads is sent by digest, once for each host, and outputs come back by digest. Each
// side compares what it receives with the digest. A Python environment is made on this machine and
// sent in the same way.
//
//	Dir/ssh.json             which host may have the task, if any, written before that is asked
//	Dir/ended.json           how the job ended, once its log and outputs are here
//	Dir/abandoned-HOST.json  that the task was given up while its host did not answer
//
// # What is found again
//
// The state of a task is on its host, in the folder of its run, as it is for local processes. A
// connection that breaks changes nothing: the program continues, and the next connection finds
// it. A tenon that was killed finds the host by ssh.json, another machine by asking all hosts.
//
// A host that does not answer for [Options].Patience is lost. Its tasks have failed then, and
// the engine may start them on other hosts. Once the host answers again, the first connection
// ends what was abandoned there.
//
// # Hosts and their keys
//
// A host has to prove the key that the target or known_hosts names. None is trusted because it
// was seen first.
package ssh

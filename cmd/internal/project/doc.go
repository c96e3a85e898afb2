// Package project is the engine behind every front end: the command line, and later a
// controller, an API or a web page. It binds the stages together for one system in one
// folder.
//
// The input is [Settings]: plain data that says where the system, its state and its
// artifacts are. The output is plain data as well, for a front end to show or encode. The
// engine reads no flags and prints nothing. While it works it reports the events of an
// apply ([executors.Event]) and notices ([Notice]). Contexts cancel it.
//
// There are three levels:
//
//	Project    a folder and its settings; nothing is open
//	           Compile, Diff, Devices, BuildImages, ...
//	Workspace  an open state and its artifacts, from Open or OpenApplied
//	           Plan, PlanRollback, Status, Show, History, Logs, Cancel, ...
//	Session    a workspace whose lock is held, from Lock
//	           Apply, Destroy, Detach, Collect
//
// An apply that runs inside a cluster is a [DetachedRun].
//
// The files follow the calls: project.go, compile.go, workspace.go, plan.go, session.go,
// then one file for each operation.
package project

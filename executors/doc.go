// Package executors applies a plan: [Apply] executes its items in parallel within the
// declared pools and hands each unit to an [Executor], which runs it as a process, a
// container or a pod. [Destroy] removes everything that is deployed.
//
// The inputs are a plan, the state and the lease that guards it, and an executor. The
// outputs are a [Result], [Event] values along the way, artifacts in the store, and a
// state that records what is deployed. The package does not decide what has to happen:
// the planner does. It reads no flags, no environment and no terminal, and it opens no
// tables: [Options.Verify] does.
//
// # Invariants
//
//   - The intent to call an executor is journalled before the call, and the
//     handle is saved before the wait. A killed apply leaves a journal; the next
//     one adopts what is still wanted and destroys the rest.
//   - An output becomes an artifact only once it is complete and verified.
//   - The predecessor of a service is destroyed only after the new service is
//     ready and recorded.
//   - A failed unit stops what depends on it and nothing else. A failed write to
//     the state stops everything, because nothing more could be recorded.
//
// # Files
//
//	executor.go     an executor, and a task
//	capabilities.go what only some executors can do
//	route.go        several executors as one
//	apply.go        the entry point: options, the revision, how it ends
//	walk.go         the walk: examines units, starts them, handles their outcomes
//	schedule.go     which unit may start next; pure
//	pools.go        exact accounts of resources; pure
//	devices.go      exact accounts of GPUs and their parts, by name; pure
//	resolve.go      the inputs of a unit, its run key, whether its result stays current
//	prepare.go      what units need before they can start, such as an environment
//	attempt.go      one attempt of a job or service, from journal to recorded result
//	audit.go        runs a job again and compares the results
//	job.go          the task of a job, and how its outputs are stored
//	service.go      a service takes over from its predecessor
//	release.go      several versions of a service, and which of them answer
//	record.go       units that are written and not run, by a [Recorder] for each component
//	remove.go       deletes, and Destroy
//	journal.go      what a killed apply left
//	sweep.go        what a killed apply left without a journal entry
//	retention.go    what a collection keeps in the state; pure
//	collect.go      garbage: finds it, lists it, removes it
//	verify.go       outputs and metrics
//	layout.go       folders below the state folder
//	events.go       events during an apply
//	result.go       the result at the end
package executors

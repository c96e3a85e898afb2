// Package executors applies a plan: [Apply] walks its items in parallel within
// the declared pools and hands each unit to an [Executor], which runs it as a
// process, a container or a pod. [Destroy] takes away everything that stands.
//
// In goes a plan, the state and the lease that guards it, and an executor. Out
// come a [Result], [Event] values along the way, artifacts in the store, and a
// state that says what stands. The package decides nothing about what has to
// happen: that is the planner's. It reads no flag, no environment and no
// terminal, and it opens no table: [Options.Verify] does.
//
// # What holds at every moment
//
//   - The intent to call an executor is journalled before the call, and the
//     handle is saved before the wait. An apply that was killed leaves a
//     journal; the next one adopts what is still wanted and destroys the rest.
//   - An output is an artifact only once it is complete and verified.
//   - Of a service that is replaced, the old one goes only after the new one is
//     ready and recorded.
//   - A failed unit stops what depends on it and nothing else. A failed write to
//     the state stops everything, for nothing could be recorded any more.
//
// # Files
//
//	executor.go what an executor is, and a task
//	route.go    several of them as one
//	apply.go    the door: options, the revision, how it ends
//	walk.go     the walk: looks at units, starts them, takes in how they ended
//	schedule.go which unit may start next; pure
//	pools.go    exact accounts of resources; pure
//	devices.go  and of GPUs and their parts, by name; pure
//	resolve.go  what a unit reads, its run key, whether its result stands
//	prepare.go  what units need made before they can start, such as an environment
//	attempt.go  one attempt of a job or service, from journal to record
//	audit.go    a job runs once more, to be compared
//	job.go      what a job is given, and what becomes of its outputs
//	service.go  a service takes over from its predecessor
//	record.go   units that are written and not run, by a [Recorder] for each component
//	remove.go   deletes, and Destroy
//	journal.go  what a killed apply left
//	sweep.go    and what it left that no journal tells of
//	keep.go     what of the record a collection leaves; pure
//	collect.go  garbage: finds it, shows it, removes it
//	verify.go   outputs and metrics
//	layout.go   folders below the state folder
//	events.go   what is told while it happens
//	result.go   what is told at the end
package executors

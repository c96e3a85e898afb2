// Package control is the controller of a system: it keeps what was applied as it was applied, and
// carries out what follows from schedules and measurements.
//
// A controller looks at the system again and again. Each time it decides, with the pure functions of
// the planner, what is due, and lets an [Engine] do it. The engine takes the lock of the state, looks
// again, and acts in a revision. So the controller itself needs to remember nothing: whatever it
// knew when it was killed is in the state.
//
// Two clocks are used. What people declared by the calendar follows the wall clock, which may jump.
// How long something lasts, such as a pause between attempts, follows a monotonic clock.
package control

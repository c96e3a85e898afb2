// Package planner compares a compiled system with the state and decides what an apply has
// to do, in which order, and why.
//
// The input is the [ir.System], the state, the artifacts that still exist, the data files
// and the status of services. The output is a [Plan]: one [Item] for each unit, with an
// action and its reasons. From earlier runs an item also has an estimate, and advice
// where a unit requests far more, or hardly more, than it used. The action decides; a
// reason only explains it.
//
// A unit is not run again if a run with the same key is recorded: the same definition,
// the same inputs, the same data files. If a unit before it is going to run, its inputs
// are not known yet. The plan then says so, and whether the deployed result remains valid
// if they come out unchanged. The walk computes the key in the same way once the inputs
// are known, see [Sources].
//
// [PlanRollback] instead plans from a recorded revision, to restore it. [Plan.Audit]
// marks some reused units to be run again. [Simulate] plans from a system that is assumed
// to be deployed, and [Compare] lists how two systems differ, without any state.
//
// The package starts nothing and changes nothing, except for a cache of the digests of
// data files.
package planner

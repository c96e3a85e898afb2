// Package planner compares a compiled system with the state and says what an
// apply has to do, in which order, and why.
//
// In goes the [ir.System], the state, which artifacts are still there, the data
// files and how services stand. Out comes a [Plan]: one [Item] for each unit,
// with an action, the reasons, and from earlier runs an estimate, and advice
// where a unit asks for far more, or hardly more, than it used. The action
// decides; a reason only explains it.
//
// A unit is not run again if a run of the same key is recorded: the same
// definition, the same inputs, the same data files. Where a unit before it is
// going to run, its inputs are not known yet; the plan then says so, and whether
// what stands would do if they came out as they were. The walk of the plan finds
// out, by computing the key in the same way, see [Sources].
//
// [PlanRollback] plans from the record of a revision instead, to bring it back.
// [Plan.Audit] has some of what would be reused run again. [Simulate] plans from a
// system that is taken to stand, and [Compare] tells how two systems differ,
// without any state.
//
// The package starts nothing and changes nothing, but for a cache of the
// digests of data files.
package planner

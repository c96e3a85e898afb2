// Package executortest tests what every executor has to do. One
// suite, [Run], runs the same cases on all of them:
//
//	func TestMain(m *testing.M) { executortest.Main(m) }
//
//	func TestConformance(t *testing.T) {
//		executortest.Run(t, executortest.Config{New: func(t testing.TB) executors.Executor { ... }})
//	}
//
// The programs that the tests run are the test binary itself, called again with
// other arguments: [Main] sees that and acts as the program. An executor whose
// units see other files gets a static build of it at [Config.Program].
//
// What an executor lacks is listed in [Config.Lacks]: the suite then asks that it
// refuses it, and otherwise that it works.
//
// A program leaves its traces in its output folder only, so a case does not
// depend on process numbers or on where the program runs. The cases want
// Linux, ports of this machine, and an executor that is also a Logger and a
// Checker. They do not test what a single executor adds; that is in its folder.
package executortest

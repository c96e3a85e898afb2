// Command tenon-duck is the part of Tenon that links DuckDB. People do not run it:
//
//	tenon-duck step     does the work of one unit whose component is built in, as $TENON_STEP says
//	tenon-duck steps    does the work of one such unit after another, for tenon replay
//	tenon-duck monitor  measures a monitor over a window of a request log, see package window
//	tenon-duck monitors measures one monitor after another for a controller, see package window, until its input ends
//	tenon-duck traffic  counts the requests of a request log, see package window
//	tenon-duck simulate answers the questions of a simulation, see package window, until its input ends
//	tenon-duck plane PYTHON SCRIPT    answers predictions as tenon-serve does, if DuckDB computes a part of the features
//	                                  or ONNX Runtime evaluates the model
//	tenon-duck serve    answers questions of tenon, see package worker, until its input ends
package main

import (
	"os"

	"github.com/tenon-ml/tenon/cmd/tenon-duck/program"
)

func main() { os.Exit(program.Run(os.Args[1:])) }

// Command bin is package program as a program.
package main

import "github.com/tenon-ml/tenon/executors/executortest/program"

func main() { program.Main() }

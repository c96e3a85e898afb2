package main

import "github.com/tenon-ml/tenon/planner/state"

// nothingDeployed says that an environment has nothing deployed.
func nothingDeployed(env string) string {
	if env == "" {
		return "Nothing is deployed."
	}
	return "Nothing is deployed in " + state.EnvironmentNamed(env) + "."
}

// again returns the command line that continues a command, with its environment.
func (a *app) again(command string) string {
	if a.env == "" {
		return command
	}
	return command + " -e " + a.env
}

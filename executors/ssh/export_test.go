package ssh

// RunName returns the name of the folder of a task on hosts.
func RunName(lineage, task string) string {
	return New(Options{Settings: Settings{State: lineage}}).runName(task)
}

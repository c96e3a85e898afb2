package ssh

// RunName returns the name of the folder of a task on hosts.
func RunName(lineage, task string) string {
	return New(Options{Settings: Settings{State: lineage}}).runName(task)
}

// Connections counts those to hosts that have not ended.
func (e *Executor) Connections() (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, l := range e.lines {
		l.mu.Lock()
		if l.link != nil {
			select {
			case <-l.link.conn.Done():
			default:
				n++
			}
		}
		l.mu.Unlock()
	}
	return n
}

// ForgetLost forgets which hosts did not answer: those of the next test have the same addresses.
func ForgetLost() {
	breakers.mu.Lock()
	defer breakers.mu.Unlock()
	clear(breakers.open)
	clear(breakers.at)
}

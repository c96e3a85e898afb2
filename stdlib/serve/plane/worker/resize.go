package worker

import (
	"fmt"
	"time"

	"github.com/tenon-ml/tenon/executors/local/lives"
)

// Resize sets how many processes there are, at least one. It does not wait for more to start. Fewer
// end as soon as they have nothing to do, so no request notices. If one more process cannot be
// started, those that there are go on.
func (p *Pool) Resize(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing || p.err != nil || time.Since(p.spoilt) < lives.LongestPause && n > p.kept {
		return
	}
	p.target = max(n, 1)
	for ; p.kept < p.target; p.kept++ {
		p.running.Go(p.keepAnother)
	}
	p.changed.Broadcast()
}

// keepAnother keeps a process beside those that the pool began with.
func (p *Pool) keepAnother() {
	err := p.keep(make(chan about, 1))
	if err == nil {
		return
	}
	p.Log(fmt.Sprintf("one more worker cannot be started: %v", err))
	p.mu.Lock()
	p.kept--
	p.target = min(p.target, p.kept)
	p.spoilt = time.Now()
	none := p.kept == 0
	p.mu.Unlock()
	if none { // those that the pool began with have ended, since one was enough
		p.fail(err)
	}
}

// Processes returns how many processes can predict.
func (p *Pool) Processes() int { return int(p.alive.Load()) }

package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/planner"
)

// A box is what outlives a mailer: what the state would hold, and what receivers got.
type box struct {
	mu      sync.Mutex
	letters []Letter
	got     []string
	down    map[string]error // by receiver
	refused bool
	alerts  error
	opened  int
}

type fakeMailer struct{ b *box }

func (m fakeMailer) Pending(context.Context, time.Time) ([]Letter, error) {
	return slices.Clone(m.b.letters), nil
}

func (m fakeMailer) Deliver(_ context.Context, l Letter) error {
	m.b.mu.Lock()
	defer m.b.mu.Unlock()
	if err := m.b.down[l.To]; err != nil {
		return err
	}
	m.b.got = append(m.b.got, fmt.Sprintf("%s %d", l.To, l.Number))
	return nil
}

func (m fakeMailer) Settle(_ context.Context, l Letter, failed error, _ time.Time) (bool, error) {
	m.b.mu.Lock()
	defer m.b.mu.Unlock()
	if failed != nil && !m.b.refused {
		return false, nil
	}
	m.b.letters = slices.DeleteFunc(m.b.letters, func(x Letter) bool { return x.To == l.To && x.Number == l.Number })
	return true, nil
}

func (m fakeMailer) Alert(context.Context, time.Time) error { return m.b.alerts }
func (m fakeMailer) Close() error                           { return nil }

func letters(to string, n int64) (all []Letter) {
	for i := range n {
		all = append(all, Letter{To: to, Number: i + 1, Declared: "loops/late", Notice: planner.Notice{Type: planner.TrainingBegun}})
	}
	return all
}

func testPost(b *box, clock Clock) (*Post, *[]string) {
	var said []string
	var mu sync.Mutex
	return NewPost(func(context.Context) (Mailer, error) { b.opened++; return fakeMailer{b}, nil }, clock, func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		said = append(said, fmt.Sprint(e.Type, " ", e.Message, e.Error))
	}), &said
}

// One receiver that is down does not keep another one from its notices. What it missed comes later, in order.
func TestNoticesAreSentInOrder(t *testing.T) {
	b, clock := &box{letters: append(letters("a", 2), letters("b", 2)...), down: map[string]error{"a": errors.New("connection refused")}}, &fakeClock{}
	p, said := testPost(b, clock)
	ctx := t.Context()
	if p.round(ctx); b.opened > 0 {
		t.Error("it sends while another controller is on duty")
	}
	p.Saw(Event{Type: Started})
	if wait := p.round(ctx); wait != time.Second {
		t.Errorf("it waits %s", wait)
	}
	equal(t, b.got, "b 1", "b 2")
	clock.elapsed = time.Second
	if wait := p.round(ctx); wait != 2*time.Second {
		t.Errorf("it waits %s after the second attempt", wait)
	}
	b.down = nil
	clock.elapsed = 2 * time.Second
	if p.round(ctx); len(b.got) > 2 {
		t.Error("it does not wait for the next attempt")
	}
	clock.elapsed = 3 * time.Second
	p.round(ctx)
	equal(t, b.got, "b 1", "b 2", "a 1", "a 2")
	if len(b.letters) > 0 {
		t.Errorf("left are %v", b.letters)
	}
	p.Saw(Event{Type: Standby})
	b.letters = letters("b", 3)
	if p.round(ctx); len(b.got) > 4 {
		t.Error("a standby sends")
	}
	failed := "failed notice training.begun of loops/late to a: connection refused"
	equal(t, *said, failed, failed, "recovered notices: loops/late to a")
}

// An Alertmanager that cannot be reached does not keep another one from its alerts, which have to be repeated.
func TestAlertsAreRepeated(t *testing.T) {
	b, clock := &box{alerts: errors.New("no answer")}, &fakeClock{}
	p, _ := testPost(b, clock)
	p.Saw(Event{Type: Started})
	var wait time.Duration
	for range 10 {
		wait = p.round(t.Context())
		clock.elapsed += wait
	}
	if wait != mailEvery {
		t.Errorf("after 10 failures it waits %s, not %s", wait, mailEvery)
	}
	if failed := p.waits(alertKey); failed > 0 {
		t.Errorf("it does not try again for %s", failed)
	}
}

// A notice that is given up does not keep the next ones from being sent.
func TestNoticeThatIsRefused(t *testing.T) {
	b := &box{letters: letters("a", 1), down: map[string]error{"a": errors.New("it answered 400 Bad Request")}, refused: true, alerts: errors.New("alerts to am: no answer")}
	p, said := testPost(b, &fakeClock{})
	p.Saw(Event{Type: Started})
	if err := p.Once(t.Context()); err == nil || len(b.letters) > 0 {
		t.Errorf("%v, left are %v", err, b.letters)
	}
	slices.Sort(*said)
	equal(t, *said, "failed alerts to am: no answer", "failed notice training.begun of loops/late to a: it answered 400 Bad Request; it is not sent again")
}

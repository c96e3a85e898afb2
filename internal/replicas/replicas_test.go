package replicas_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenon-ml/tenon/internal/replicas"
)

// The load of a while is how many requests were in flight on average.
func TestALoadIsAnAverage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l replicas.Load
		want := func(seconds float64) {
			t.Helper()
			if got := l.Seconds(); math.Abs(got-seconds) > 1e-9 {
				t.Errorf("%v seconds in flight, want %v", got, seconds)
			}
		}
		want(0)
		l.Begin()
		l.Begin()
		time.Sleep(3 * time.Second)
		want(6) // although none was answered
		l.End()
		time.Sleep(time.Second)
		want(7)
		l.End()
		time.Sleep(time.Hour)
		want(7)
		if !l.Idle() {
			t.Error("it is not idle")
		}
	})
}

func TestNeed(t *testing.T) {
	for _, c := range []struct {
		load, each float64
		want       int
	}{{0, 8, 0}, {1e-9, 8, 1}, {8, 8, 1}, {8.1, 8, 2}, {64, 8, 8}, {0.69, 0.7, 1}, {1e300, 1, math.MaxInt32}} {
		if got := replicas.Need(c.load, c.each); got != c.want {
			t.Errorf("a load of %v, %v each, needs %d, want %d", c.load, c.each, got, c.want)
		}
	}
}

// More replicas come at once. Fewer come after they were enough for a while.
func TestFollow(t *testing.T) {
	r := replicas.Rule{Min: 0, Max: 4, Idle: 10 * time.Second}
	var f replicas.Follower
	began := time.Now()
	for _, c := range []struct{ at, have, need, want int }{
		{0, 2, 0, 2}, // it does not know yet what was needed
		{5, 2, 0, 2},
		{10, 2, 0, 0},
		{11, 0, 3, 3},
		{12, 3, 9, 4},
		{13, 4, 1, 4},
		{21, 4, 1, 4},
		{22, 4, 1, 1},
		{31, 1, 0, 1},
		{32, 1, 0, 0},
	} {
		if got := f.Want(r, began.Add(time.Duration(c.at)*time.Second), c.have, c.need); got != c.want {
			t.Errorf("after %d s, with %d replicas and %d needed: %d, want %d", c.at, c.have, c.need, got, c.want)
		}
	}
}

// The answer is the highest need of the last while, however needs come.
func TestFollowIsTheHighestNeedOfAWhile(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	r := replicas.Rule{Min: 1, Max: 20, Idle: 7 * time.Second}
	type need struct{ at, n int }
	for range 200 {
		var f replicas.Follower
		began, at := time.Now(), 0
		all := []need{{0, 5}}
		for range 100 {
			at += random.IntN(4)
			n := random.IntN(25)
			all = append(all, need{at, n})
			want := n
			for _, x := range all {
				if at-x.at < 7 {
					want = max(want, x.n)
				}
			}
			want = min(max(want, r.Min), r.Max)
			if got := f.Want(r, began.Add(time.Duration(at)*time.Second), 5, n); got != want {
				t.Fatalf("after %v: %d, want %d", all, got, want)
			}
		}
	}
}

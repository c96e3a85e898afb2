package duration_test

import (
	"testing"
	"time"

	"github.com/tenon-ml/tenon/internal/duration"
)

func TestText(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 10 * time.Minute: "10m", 90 * time.Minute: "1h30m", 12 * time.Hour: "12h", 24 * time.Hour: "1d", 7 * 24 * time.Hour: "7d",
		36 * time.Hour: "36h", 1500 * time.Millisecond: "1.5s", 61 * time.Second: "1m1s",
	} {
		if got := duration.Text(d); got != want {
			t.Errorf("%d is %q, want %q", d, got, want)
		}
	}
}

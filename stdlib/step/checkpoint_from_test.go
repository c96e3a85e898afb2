package step_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/tenon-ml/tenon/stdlib/step"
)

// Only what attempts of the run have saved counts, whatever else is in the folder. What is no checkpoint stays.
func TestCheckpointsOfOtherRunsAreRemoved(t *testing.T) {
	c := step.Checkpoints{Path: t.TempDir(), Key: "key", Keep: 10, Attempt: 3}
	for number, attempt := range map[int64]int{1: 3, 2: 4, 3: 5, 4: 6} {
		by := c
		by.Attempt = attempt
		if err := by.Save(number, func(string) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"5", "006", "-7", "kept"} { // without a manifest
		if err := os.Mkdir(filepath.Join(c.Path, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		from, attempt int
		want          string
	}{{0, 5, "[5 4 3 2 1]"}, {4, 5, "[3 2]"}, {6, 6, "[]"}} {
		c.From, c.Attempt = tt.from, tt.attempt
		if err := c.RemoveOutdated(); err != nil {
			t.Fatal(err)
		}
		numbers, err := c.Numbers()
		if got := fmt.Sprint(numbers); err != nil || got != tt.want {
			t.Errorf("from attempt %d, %s are left, want %s: %v", tt.from, got, tt.want, err)
		}
	}
	entries, err := os.ReadDir(c.Path)
	if err != nil || len(entries) != 3 {
		t.Errorf("left are %v, %v", entries, err)
	}
}

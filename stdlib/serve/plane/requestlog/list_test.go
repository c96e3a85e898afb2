package requestlog_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/requestlog"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requests"
)

// Two replicas keep requests at the same time. Each file begins before the other one ends.
func TestNewestRowsOfFilesThatOverlap(t *testing.T) {
	dir := t.TempDir()
	began := time.Now().Add(-time.Hour).Truncate(time.Second)
	add := func(pod string, seconds ...int) {
		before, _ := requestlog.Files(dir)
		l := open(t, dir, nil)
		for _, s := range seconds {
			r := request(fmt.Sprintf("%s%02d", pod, s), 1)
			r.Began = began.Add(time.Duration(s) * time.Second)
			l.Add(r)
		}
		l.Close(10 * time.Second)
		after, err := requestlog.Files(dir)
		if err != nil {
			t.Fatal(err)
		}
		ended := began.Add(time.Duration(seconds[len(seconds)-1]+1) * time.Second)
		for _, path := range after {
			if !strings.Contains(strings.Join(before, "\n"), path) {
				if err := os.Chtimes(path, ended, ended); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	add("old-", 0, 1, 2)
	add("a-", 10, 20, 31, 33, 35)
	add("b-", 11, 12, 13, 14, 15, 16, 17, 18, 30, 32, 34) // enough rows for the limit, but not the newest
	for limit, want := range map[int]string{
		1:  "a-35",
		6:  "b-30 a-31 b-32 a-33 b-34 a-35",
		16: "a-10 b-11 b-12 b-13 b-14 b-15 b-16 b-17 b-18 a-20 b-30 a-31 b-32 a-33 b-34 a-35",
		17: "old-02 a-10 b-11 b-12 b-13 b-14 b-15 b-16 b-17 b-18 a-20 b-30 a-31 b-32 a-33 b-34 a-35",
	} {
		var out bytes.Buffer
		if err := requestlog.List(t.Context(), requests.Selection{Log: dir, Limit: limit}, &out); err != nil {
			t.Fatal(err)
		}
		var got []string
		for line := range strings.Lines(out.String()) {
			var row requests.Row
			if err := json.Unmarshal([]byte(line), &row); err != nil {
				t.Fatal(err)
			}
			got = append(got, row.RequestID)
		}
		if diff := cmp.Diff(want, strings.Join(got, " ")); diff != "" {
			t.Errorf("the newest %d rows:\n%s", limit, diff)
		}
	}
}

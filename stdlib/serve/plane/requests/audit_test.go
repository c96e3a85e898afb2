package requests_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/requests"
)

// Lines of several replicas are in the order of their times, whatever file they are in.
func TestLinesOfAnAuditLog(t *testing.T) {
	dir := t.TempDir()
	begin := time.Date(2026, 5, 17, 12, 0, 0, 0, time.UTC)
	line := func(second int, id string) string {
		return fmt.Sprintf(`{"time":%q,"status":200,"ms":0.063,"id":%q,"method":"POST","path":"/predict"}`, begin.Add(time.Duration(second)*time.Second).Format(requests.AuditTime), id)
	}
	for name, text := range map[string]string{
		"audit-1-a_pod-1.jsonl":    line(0, "a") + "\n" + line(3, "d") + "\n" + line(2, "c") + "\n",
		"audit-2-b_pod-2.jsonl":    line(1, "b") + "\n" + line(4, "e") + "\n" + line(5, "f")[:20],
		".new-audit-3-c.jsonl":     line(6, "half"),
		"requests-1-a_pod.parquet": "PAR1",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for want, ask := range map[string]requests.Selection{
		"a b c d e": {},
		"d e":       {Limit: 2},
		"c d e":     {Since: begin.Add(2 * time.Second)},
		"b":         {ID: "b"},
		"":          {ID: "x"},
	} {
		ask.Log = dir
		var ids []string
		err := requests.Audited(ask, func(text string, l requests.AuditLine) error {
			if ids = append(ids, l.ID); !strings.Contains(text, l.ID) || l.Status != 200 || l.MS != 0.063 || l.Path != "/predict" {
				t.Errorf("%s reads %+v", text, l)
			}
			return nil
		})
		if got := strings.Join(ids, " "); got != want || err != nil {
			t.Errorf("%+v: %q, %v, want %q", ask, got, err, want)
		}
	}
	if err := requests.Audited(requests.Selection{Log: filepath.Join(dir, "none")}, nil); err != nil {
		t.Error(err)
	}
}

package examples_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/internal/test/sshtest"
)

// What tenon init makes runs on hosts that have neither Python nor anything of Tenon, with the same
// results byte for byte, and its endpoint answers from the cheaper one.
func TestStarterOnHosts(t *testing.T) {
	l := sshtest.Up(t)
	local, _ := newStarter(t)
	local.must("apply", "--yes")
	want := digests(local)

	s, _ := newStarter(t)
	hosts := ""
	for i, h := range l.All {
		hosts += fmt.Sprintf("\t{address: %q, user: \"root\", key: %q, host_key: %q, cpu: 2, price: \"%d USD/h\"},\n", h.Address, l.Key, h.HostKey, 2-i)
	}
	lab := "package iris\n\nimport \"tenon.dev/tenon\"\n\ntargets: lab: tenon.#SSH & {hosts: [\n" + hosts + "]}\ntarget: \"lab\"\n"
	if err := os.WriteFile(filepath.Join(s.dir, "lab.cue"), []byte(lab), 0o644); err != nil {
		t.Fatal(err)
	}
	s.must("apply", "--yes")
	got := digests(s)
	if len(want) < 4 {
		t.Errorf("artifacts of local processes: %v", want)
	}
	for output, digest := range want {
		if got[output] != digest {
			t.Errorf("%s is %s, and of local processes %s", output, got[output], digest)
		}
	}
	endpoint := s.endpoint("deployments/api")
	if !strings.HasPrefix(endpoint, "http://"+l.All[1].Address+":") {
		t.Errorf("the endpoint is %s, and the cheaper host is %s", endpoint, l.All[1].Address)
	}
	if status, body := post(t, endpoint+"/predict", oneIris); status != 200 || !strings.Contains(body, `"setosa"`) {
		t.Errorf("POST %s/predict: %d %s", endpoint, status, body)
	}
	contains(t, s.must("plan"), "Nothing to do")
	s.must("destroy", "--yes")
	for _, h := range l.All {
		if left, err := filepath.Glob(filepath.Join(h.Home, ".cache/tenon/ssh/runs/*")); err != nil || len(left) > 0 {
			t.Errorf("%s has %v, %v", h.Address, left, err)
		}
	}
}

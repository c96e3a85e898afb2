package examples_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What docs/kubernetes.md shows of a system compiles, beside the one of `tenon init`.
func TestTheGuideToClustersCompiles(t *testing.T) {
	page, err := os.ReadFile("../docs/kubernetes.md")
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, m := range regexp.MustCompile("(?s)```cue\n(.*?)```").FindAllSubmatch(page, -1) {
		blocks = append(blocks, string(m[1]))
	}
	if len(blocks) != 6 {
		t.Fatalf("the page has %d blocks of CUE, and this test knows 6", len(blocks))
	}
	target, volume, exposed, scaled, detached, nodes := blocks[0], blocks[1], blocks[2], blocks[3], blocks[4], blocks[5]
	onVolume := regexp.MustCompile(`(?m)^\tstore: .*\n\tstore_secret: .*\n`).ReplaceAllLiteralString(target, volume)
	head := "package iris\n\nimport (\"tenon.dev/step\", \"tenon.dev/tenon\")\n\n"
	for name, files := range map[string]map[string]string{
		"the first apply": {"cluster.cue": target},
		"a volume":        {"cluster.cue": onVolume},
		"detached": {"cluster.cue": target, "detached.cue": strings.Replace(head, `"tenon.dev/step", `, "", 1) +
			strings.Replace(detached, "\t...\n", "", 1)},
		"exposed":       {"cluster.cue": target, "exposed.cue": "package iris\n\n" + exposed},
		"scaled":        {"cluster.cue": target, "scaled.cue": "package iris\n\n" + scaled},
		"several nodes": {"cluster.cue": target, "nodes.cue": strings.Replace(head, `, "tenon.dev/tenon"`, "", 1) + nodes, "train.py": ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &system{t: t, dir: t.TempDir()}
			s.must("init")
			for file, text := range files {
				if err := os.WriteFile(filepath.Join(s.dir, file), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got := s.must("compile", "-t", "target=kubernetes", "--format=manifests"); !strings.Contains(got, "namespace: ml") {
				t.Errorf("the cluster would get:\n%s", got)
			}
		})
	}
}

package inside

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// Beside completes what the container of a service has to do with the versions that run beside it:
// where its route is, and their documents, with their files below a folder each. pass is what is uploaded for the
// service; the result is what must be uploaded besides. An input that pass has already is not there twice.
func Beside(t executors.Task, doc *step.Step, pass []Passage) (more []Passage) {
	if t.Route != nil {
		doc.Route, doc.Observed = path.Join(pod.Work, "route", "route.json"), path.Join(pod.Work, "notes", "observed.json")
	}
	for i, name := range slices.Sorted(maps.Keys(t.Beside)) {
		more = append(more, beside(t.Beside[name], *doc, doc.Beside[name], path.Join(pod.Work, "beside", strconv.Itoa(i)), append(slices.Clip(pass), more...))...)
	}
	return more
}

// beside puts the document of another version into the container of host.
func beside(t executors.Task, host step.Step, doc *step.Step, below string, has []Passage) (pass []Passage) {
	code := ""
	if len(t.Unit.Code.Files) > 0 {
		code = path.Join(below, "code")
		pass = append(pass, Passage{From: t.Code, To: code, Name: "code of " + t.Version})
	}
	doc.Interpreters, doc.Shipped = host.Interpreters, host.Shipped
	local.PlaceBeside(host, doc, path.Join(pod.Work, "out"), code, func(port string, p step.Port) string {
		if i := slices.IndexFunc(has, func(h Passage) bool { return h.Digest != "" && h.Digest == p.Digest }); i >= 0 {
			return has[i].To
		}
		at := path.Join(below, "in", port)
		pass = append(pass, Passage{From: p.Path, To: at, Name: fmt.Sprintf("input %s of %s", port, t.Version), Digest: p.Digest})
		return at
	})
	return pass
}

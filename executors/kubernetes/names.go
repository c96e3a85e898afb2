package kubernetes

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
)

// manager is who makes the objects, to the cluster.
const manager = "tenon"

// Labels of all objects. The annotation of a unit has its whole id, which a label
// may not hold.
const (
	labelManagedBy = "app.kubernetes.io/managed-by"
	labelSystem    = "tenon.dev/system"
	labelUnit      = "tenon.dev/unit"
	labelTask      = "tenon.dev/task"
	labelState     = "tenon.dev/state"
	labelQueue     = "kueue.x-k8s.io/queue-name"

	annotationUnit = "tenon.dev/unit"
	// annotationSettled lists what is not known before an apply.
	annotationSettled = "tenon.dev/settled-by-apply"
)

// maxLabel is how long the value of a label may be, and the name of a Service.
const maxLabel = 63

// ServiceName is the name of the Service of a unit, the same for all its versions.
func ServiceName(system, unit string) string {
	_, name, _ := strings.Cut(unit, "/")
	return short(cmp.Or(system, manager)+"-"+name, func(r rune) bool { return r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' }, "-")
}

// labelValue is an id as the value of a label.
func labelValue(id string) string {
	return short(strings.ReplaceAll(id, "/", "."), func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.", r)
	}, "-_.")
}

// short is a name of at most [maxLabel] letters that are all allowed, and with none
// of ends at its ends. One that had to be changed has a digest of what it was.
func short(name string, allowed func(rune) bool, ends string) string {
	s := strings.Map(func(r rune) rune {
		switch lower := unicode.ToLower(r); {
		case allowed(r):
			return r
		case allowed(lower):
			return lower
		}
		return '-'
	}, name)
	if s = strings.Trim(s, ends); s == name && len(s) <= maxLabel {
		return s
	}
	sum := sha256.Sum256([]byte(name))
	digest := hex.EncodeToString(sum[:4])
	s = strings.TrimRight(s[:min(len(s), maxLabel-len(digest)-1)], ends)
	return s + "-" + digest
}

// labels of the objects of a unit. Those of tenon win.
func (s Settings) labels(u ir.Unit) map[string]string {
	own := map[string]string{labelManagedBy: manager, labelUnit: labelValue(u.ID)}
	if s.System != "" {
		own[labelSystem] = labelValue(s.System)
	}
	if s.State != "" {
		own[labelState] = s.State
	}
	return merged(s.placement(u).Labels, own)
}

func (s Settings) annotations(u ir.Unit) map[string]string {
	return merged(s.placement(u).Annotations, map[string]string{annotationUnit: u.ID})
}

// meta is what the objects of a task have in common.
func (s Settings) meta(t executors.Task) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: t.Name, Namespace: s.Namespace,
		Labels: merged(s.labels(t.Unit), ofTask(t)), Annotations: s.annotations(t.Unit),
	}
}

// ofTask is the label by which the objects of a task are found.
func ofTask(t executors.Task) map[string]string { return map[string]string{labelTask: t.Name} }

package kubernetes

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"unicode"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
)

// manager is the value of the managed-by label and the name of the field manager.
const manager = "tenon"

// Labels of all objects. The annotation of a unit holds its full id, which is not a
// valid label value.
const (
	labelManagedBy = "app.kubernetes.io/managed-by"
	labelSystem    = "tenon.dev/system"
	labelUnit      = "tenon.dev/unit"
	labelTask      = "tenon.dev/task"
	labelState     = "tenon.dev/state"
	labelEnv       = "tenon.dev/environment"
	labelAsked     = "tenon.dev/asked"  // the task for which a pod answers: its own pods, and its scaler's
	labelScaler    = "tenon.dev/scaler" // the task that the pod scales
	labelQueue     = "kueue.x-k8s.io/queue-name"

	annotationUnit = "tenon.dev/unit"
	// annotationSettled lists the values that are unknown before an apply.
	annotationSettled = "tenon.dev/settled-by-apply"
)

// maxLabel is the maximum length of a label value and of the name of a Service.
const maxLabel = 63

// ServiceName returns the name of the Service of a unit in an environment, which may be "". All
// versions of the unit share the Service. Two dashes in a row separate the environment from
// the unit, so that no unit of another environment has the same name.
func ServiceName(system, env, unit string) string {
	_, name, _ := strings.Cut(unit, "/")
	whole, system := "", cmp.Or(system, manager)
	switch unclear := slices.ContainsFunc([]string{system, env, name}, func(part string) bool {
		return strings.Contains(part, "--") || strings.Trim(part, "-") != part
	}); {
	case unclear:
		whole = system + "/" + env + "/" + name // which no name contains, so that it gets a digest
	case env != "":
		whole = system + "-" + env + "--" + name
	default:
		whole = system + "-" + name
	}
	return short(whole, func(r rune) bool { return r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' }, "-")
}

// serviceName returns the name of the Service of a unit.
func (s Settings) serviceName(unit string) string { return ServiceName(s.System, s.Env, unit) }

// labelValue turns an id into a valid label value.
func labelValue(id string) string {
	return short(strings.ReplaceAll(id, "/", "."), func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.", r)
	}, "-_.")
}

// short turns a name into one of at most [maxLabel] characters, all of them allowed,
// that neither begins nor ends with a character of ends. If it changes the name, it
// appends a digest of the original.
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

// labels returns the labels of the objects of a unit. Tenon's own labels win.
func (s Settings) labels(u ir.Unit) map[string]string {
	own := map[string]string{labelManagedBy: manager, labelUnit: labelValue(u.ID)}
	if s.System != "" {
		own[labelSystem] = labelValue(s.System)
	}
	if s.State != "" {
		own[labelState] = s.State
	}
	if s.Env != "" {
		own[labelEnv] = s.Env
	}
	return merged(s.placement(u).Labels, own)
}

func (s Settings) annotations(u ir.Unit) map[string]string {
	return merged(s.placement(u).Annotations, map[string]string{annotationUnit: u.ID})
}

// meta returns the metadata that all objects of a task share.
func (s Settings) meta(t executors.Task) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: t.Name, Namespace: s.Namespace,
		Labels: merged(s.labels(t.Unit), ofTask(t)), Annotations: s.annotations(t.Unit),
	}
}

// ofTask returns the label that selects the objects of a task.
func ofTask(t executors.Task) map[string]string { return map[string]string{labelTask: t.Name} }

// answering returns the label of the pods that requests to a task go to.
func answering(t executors.Task) map[string]string {
	if t.Unit.Endpoint != nil && toZero(t.Unit.Endpoint) {
		return map[string]string{labelAsked: t.Name}
	}
	return ofTask(t)
}

package kubernetes

import (
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/tenon-ml/tenon/executors"
)

// rights are everything that tenon does in its namespace. It deletes only the ConfigMaps of tasks: the
// other objects of a task go with the ConfigMap that owns them.
var rights = []struct {
	group, resource string
	verbs           []string
}{
	{"", "configmaps", []string{"get", "list", "watch", "create", "delete"}}, // with the task states
	{"", "configmaps/finalizers", []string{"update"}},                        // to delete a ConfigMap only after the objects that it owns
	{"apps", "deployments", []string{"get", "list", "watch", "create"}},
	{"apps", "deployments/scale", []string{"get", "patch"}}, // only for scalers, which nobody can give more than they have
	{"batch", "jobs", []string{"get", "list", "watch", "create"}},
	{"", "pods", []string{"get", "list", "watch"}},
	{"", "pods/log", []string{"get"}},
	{"", "events", []string{"list"}}, // to explain why there is no pod
	{"", "services", []string{"get", "create", "patch"}},
	{"discovery.k8s.io", "endpointslices", []string{"list"}}, // to see whether a Service selects the new version
	{"", "secrets", []string{"create", "patch"}},             // secrets that tenon resolved; it reads none
	{"autoscaling", "horizontalpodautoscalers", []string{"create", "patch"}},
	{"", "serviceaccounts", []string{"create", "patch"}}, // those of scalers, as the next two
	{"rbac.authorization.k8s.io", "roles", []string{"create", "patch"}},
	{"rbac.authorization.k8s.io", "rolebindings", []string{"create", "patch"}},
	{"networking.k8s.io", "networkpolicies", []string{"create", "patch"}},
	{"networking.k8s.io", "ingresses", []string{"get", "create", "patch", "delete"}},
	{"gateway.networking.k8s.io", "httproutes", []string{"get", "create", "patch", "delete"}},
	{"policy", "poddisruptionbudgets", []string{"create", "patch"}},
}

// Rules returns the rights as the rules of a role.
func Rules() (rules []rbacv1.PolicyRule) {
	for _, r := range rights {
		rules = append(rules, rbacv1.PolicyRule{APIGroups: []string{r.group}, Resources: []string{r.resource}, Verbs: r.verbs})
	}
	return rules
}

// Rights returns a service account, a role and their binding.
func (e *Executor) Rights(namespace, account string) ([]executors.Manifest, error) {
	if errs := validation.IsDNS1123Label(namespace); len(errs) > 0 {
		return nil, &executors.ArgumentError{Argument: "namespace", Wants: "the name of a namespace", Got: namespace}
	}
	if errs := validation.IsDNS1123Subdomain(account); len(errs) > 0 {
		return nil, &executors.ArgumentError{Argument: "name", Wants: "the name of a service account", Got: account}
	}
	meta := metav1.ObjectMeta{Name: account, Namespace: namespace, Labels: map[string]string{labelManagedBy: manager}}
	return manifests([]object{
		&corev1.ServiceAccount{TypeMeta: kind("v1", "ServiceAccount"), ObjectMeta: meta},
		&rbacv1.Role{TypeMeta: kind("rbac.authorization.k8s.io/v1", "Role"), ObjectMeta: meta, Rules: Rules()},
		&rbacv1.RoleBinding{
			TypeMeta: kind("rbac.authorization.k8s.io/v1", "RoleBinding"), ObjectMeta: meta,
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: account},
			Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: account, Namespace: namespace}},
		},
	})
}

package kubernetes

import (
	rbacv1 "k8s.io/api/rbac/v1"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// rights are all that tenon does in its namespace. It deletes records, and nothing
// else: what a task has besides goes with the record that owns it.
var rights = []struct {
	group, resource string
	verbs           []string
}{
	{"", "configmaps", []string{"get", "list", "watch", "create", "delete"}}, // the records
	{"", "configmaps/finalizers", []string{"update"}},                        // they end only when what they own has
	{"apps", "deployments", []string{"get", "list", "watch", "create"}},
	{"batch", "jobs", []string{"get", "list", "watch", "create"}},
	{"", "pods", []string{"get", "list", "watch"}},
	{"", "pods/log", []string{"get"}},
	{"", "events", []string{"list"}}, // why there is no pod
	{"", "services", []string{"get", "create", "patch"}},
	{"discovery.k8s.io", "endpointslices", []string{"list"}}, // whether a service leads to the new version
	{"", "secrets", []string{"create", "patch"}},             // what tenon resolved; it reads none
	{"autoscaling", "horizontalpodautoscalers", []string{"create", "patch"}},
	{"networking.k8s.io", "networkpolicies", []string{"create", "patch"}},
	{"policy", "poddisruptionbudgets", []string{"create", "patch"}},
}

// Rules are the rights as a role has them.
func Rules() (rules []rbacv1.PolicyRule) {
	for _, r := range rights {
		rules = append(rules, rbacv1.PolicyRule{APIGroups: []string{r.group}, Resources: []string{r.resource}, Verbs: r.verbs})
	}
	return rules
}

// Rights are a service account that may do what tenon does in a namespace, and no
// more.
func Rights(namespace, name string) []Object {
	meta := metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: map[string]string{labelManagedBy: manager}}
	role := &rbacv1.Role{TypeMeta: kind("rbac.authorization.k8s.io/v1", "Role"), ObjectMeta: meta, Rules: Rules()}
	return []Object{
		&corev1.ServiceAccount{TypeMeta: kind("v1", "ServiceAccount"), ObjectMeta: meta},
		role,
		&rbacv1.RoleBinding{
			TypeMeta: kind("rbac.authorization.k8s.io/v1", "RoleBinding"), ObjectMeta: meta,
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
			Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: name, Namespace: namespace}},
		},
	}
}

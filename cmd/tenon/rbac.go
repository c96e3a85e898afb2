package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/tenon-ml/tenon/executors/kubernetes"
)

func rbacCommand(a *app) *cobra.Command {
	var namespace, name string
	var asJSON bool
	c := &cobra.Command{
		Use: "rbac", Short: "Print the rights that tenon needs in a namespace of a cluster", Args: cobra.NoArgs,
		Long: `Prints a service account, a role with what tenon does in a namespace and no more,
and what binds the two, in YAML.

Nothing is sent to a cluster. The pods that tenon starts have none of these rights.`,
		Example: "  tenon rbac --namespace ml | kubectl apply -f -\n  tenon rbac --namespace ml --json",
		RunE: func(*cobra.Command, []string) error {
			if errs := validation.IsDNS1123Label(namespace); len(errs) > 0 {
				return &usageError{fmt.Errorf("--namespace takes the name of a namespace, not %q", namespace)}
			}
			if errs := validation.IsDNS1123Subdomain(name); len(errs) > 0 {
				return &usageError{fmt.Errorf("--name takes the name of a service account, not %q", name)}
			}
			objects := kubernetes.Rights(namespace, name)
			if asJSON {
				return a.printJSON(map[string]any{"apiVersion": "v1", "kind": "List", "items": objects})
			}
			return kubernetes.Print(a.stdout, objects)
		},
	}
	c.Flags().StringVarP(&namespace, "namespace", "n", "default", "`NAMESPACE` of the target")
	c.Flags().StringVar(&name, "name", "tenon", "`NAME` of the service account, the role and the binding")
	c.Flags().BoolVar(&asJSON, "json", false, "print a list in JSON")
	return c
}

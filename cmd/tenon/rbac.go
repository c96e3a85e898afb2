package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/executors"
)

func rbacCommand(a *app) *cobra.Command {
	var namespace, name string
	var asJSON bool
	c := &cobra.Command{
		Use: "rbac", Short: "Print the permissions that tenon needs in a namespace of a cluster", Args: cobra.NoArgs,
		Long: `Prints, as YAML, a service account, a role with exactly the permissions that tenon
needs in a namespace, and the binding of the two.

Nothing is sent to a cluster. The pods that tenon starts have none of these
permissions.`,
		Example: "  tenon rbac --namespace ml | kubectl apply -f -\n  tenon rbac --namespace ml --json",
		RunE: func(*cobra.Command, []string) error {
			objects, err := project.Rights(namespace, name)
			var refused *executors.ArgumentError
			switch {
			case errors.As(err, &refused):
				return &usageError{fmt.Errorf("--%w", err)}
			case err != nil:
				return err
			case asJSON:
				items := make([]json.RawMessage, len(objects))
				for i, m := range objects {
					items[i] = m.JSON
				}
				return a.printJSON(map[string]any{"apiVersion": "v1", "kind": "List", "items": items})
			}
			return a.printYAML(objects)
		},
	}
	c.Flags().StringVarP(&namespace, "namespace", "n", "default", "`NAMESPACE` of the target")
	c.Flags().StringVar(&name, "name", "tenon", "`NAME` of the service account, the role and the binding")
	c.Flags().BoolVar(&asJSON, "json", false, "print a list in JSON")
	return c
}

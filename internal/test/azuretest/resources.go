package azuretest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/internal/test/containers"
	"github.com/tenon-ml/tenon/internal/test/tofutest"
)

// resources is the path that gets what a provider of Terraform changes, see tofutest.Hook.
const resources = "/test/resources"

// Hook is the URL that gets what a provider of Terraform changes.
func (c *Cloud) Hook() string { return c.URL + resources }

// change makes or removes what jobs need of the infrastructure, as [server.provision] does.
func (s *server) change(c tofutest.Change) error {
	switch {
	case c.Action == "create" && c.Type == "azurerm_storage_container":
		return s.container(last(c.Text("storage_account_id")), c.Text("name"))
	case c.Action == "create" && c.Type == "azurerm_container_registry":
		if err := containers.Mirror(s.dir+"/hosts", c.Text("login_server"), s.images.Registry); err != nil {
			return err
		}
	}
	properties := map[string]object{
		"azurerm_container_registry":         {},
		"azurerm_container_app_environment":  {"profiles": profilesOf(c.Values)},
		"azurerm_log_analytics_workspace":    {"customerId": "workspace"},
		"azurerm_machine_learning_workspace": {},
		"azurerm_user_assigned_identity":     {"clientId": c.Text("client_id")},
	}[c.Type]
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.Action == "delete" {
		delete(s.resources, c.ID)
		delete(s.clusters, c.ID)
		switch c.Type {
		case "azurerm_user_assigned_identity":
			delete(s.identities, c.Text("client_id"))
		case "azurerm_key_vault":
			delete(s.vaults, c.Text("name"))
		}
		return nil
	}
	if properties != nil {
		s.resources[c.ID] = properties
	}
	switch c.Type {
	case "azurerm_machine_learning_compute_cluster":
		s.clusters[c.ID] = &cluster{clientsOf(c.Values), c.Text("vm_size")}
	case "azurerm_user_assigned_identity":
		if s.identities[c.Text("client_id")] == nil {
			s.identities[c.Text("client_id")] = &identity{id: c.ID, blobs: map[string]string{}}
		}
	case "azurerm_key_vault":
		if s.vaults[c.Text("name")] == nil {
			s.vaults[c.Text("name")] = map[string][]string{}
		}
	case "azurerm_role_definition":
		role := "read"
		for does, action := range map[string]string{"write": "/write", "remove": "/delete"} {
			if slices.ContainsFunc(actionsOf(c.Values), func(a string) bool { return strings.HasSuffix(a, action) }) {
				role = does
			}
		}
		s.roles[c.Text("role_definition_resource_id")] = role
	case "azurerm_role_assignment":
		return s.assign(c)
	}
	return nil
}

// assign gives an identity a right: to blobs under a condition, or to a secret.
func (s *server) assign(c tofutest.Change) error {
	principal, scope := c.Text("principal_id"), c.Text("scope")
	i := s.identities[clientOf(strings.TrimPrefix(principal, "principal-of-"))]
	if i == nil {
		return fmt.Errorf("a role is assigned to %q, which is no identity", principal)
	}
	if role := s.roles[c.Text("role_definition_id")]; role != "" {
		_, at, _ := strings.Cut(scope, "/storageAccounts/")
		account, _, _ := strings.Cut(at, "/")
		i.blobs[role], i.of = c.Text("condition"), account+"-"+last(at)
	}
	if _, at, is := strings.Cut(scope, "/vaults/"); is && c.Text("role_definition_name") == "Key Vault Secrets User" {
		i.secret = append(i.secret, at)
	}
	return nil
}

// profilesOf returns the names of the workload profiles of an environment.
func profilesOf(environment map[string]any) (all []string) {
	profiles, _ := environment["workload_profile"].([]any)
	for _, p := range profiles {
		if p, ok := p.(map[string]any); ok {
			name, _ := p["name"].(string)
			all = append(all, name)
		}
	}
	return all
}

// clientsOf returns the client ids of the identities of a cluster.
func clientsOf(values map[string]any) (all []string) {
	blocks, _ := values["identity"].([]any)
	for _, b := range blocks {
		is, _ := b.(map[string]any)
		ids, _ := is["identity_ids"].([]any)
		for _, id := range ids {
			text, _ := id.(string)
			all = append(all, clientOf(last(text)))
		}
	}
	return all
}

// actionsOf returns what a role may do to blobs.
func actionsOf(role map[string]any) (all []string) {
	permissions, _ := role["permissions"].([]any)
	for _, p := range permissions {
		permission, _ := p.(map[string]any)
		actions, _ := permission["data_actions"].([]any)
		for _, a := range actions {
			text, _ := a.(string)
			all = append(all, text)
		}
	}
	return all
}

// last returns the name at the end of an id.
func last(id string) string { return id[strings.LastIndexByte(id, '/')+1:] }

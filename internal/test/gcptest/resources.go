package gcptest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/tenon-ml/tenon/internal/test/tofutest"
)

// resources is the path that gets what a provider of Terraform changes, see tofutest.Hook.
const resources = "/test/resources"

// Hook is the URL that gets what a provider of Terraform changes.
func (c *Cloud) Hook() string { return c.URL + resources }

// change makes or removes what jobs need of the infrastructure: buckets with rights, secrets and service accounts. Everything
// else is a name only.
func (s *server) change(c tofutest.Change) error {
	if c.Type == "google_storage_bucket" {
		return s.changeBucket(c.Action, c.Text("name"), c.Values["force_destroy"] == true)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch c.Type {
	case "google_service_account":
		s.accounts[c.Text("email")] = c.Action != "delete"
	case "google_storage_bucket_iam_member":
		s.bind(c)
	case "google_secret_manager_secret":
		name := "projects/" + Project + "/secrets/" + c.Text("secret_id")
		if _, made := s.secrets[name]; !made {
			s.secrets[name] = nil
		}
		if c.Action == "delete" {
			delete(s.secrets, name)
		}
	}
	return nil
}

// bind changes a binding of a bucket. The names of roles end with what they are for. The caller has locked s.
func (s *server) bind(c tofutest.Change) {
	if c.Action == "delete" {
		delete(s.bindings, c.ID)
		return
	}
	conditions, _ := c.Values["condition"].([]any)
	for _, x := range conditions {
		condition, _ := x.(map[string]any)
		expression, _ := condition["expression"].(string)
		role := c.Text("role")
		s.bindings[c.ID] = binding{c.Text("bucket"), strings.TrimPrefix(c.Text("member"), "serviceAccount:"), role[strings.LastIndex(role, "_")+1:], expression}
	}
}

// changeBucket makes or removes a bucket. One that is not empty is only removed by force.
func (s *server) changeBucket(action, name string, force bool) error {
	at := s.storage + "/storage/v1/b"
	c := At("", s.storage, s.dir)
	switch action {
	case "create":
		return c.post(at+"?project="+Project, object{"name": name}, http.StatusConflict)
	case "update":
		return nil
	}
	at += "/" + name
	resp, err := http.Get(at + "/o")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var found struct{ Items []struct{ Name string } }
	if err := json.NewDecoder(resp.Body).Decode(&found); err != nil {
		return err
	}
	if len(found.Items) > 0 && !force {
		return fmt.Errorf("Error trying to delete bucket %s containing objects without `force_destroy` set to true", name) //nolint:staticcheck // as the provider says it
	}
	for _, o := range found.Items {
		if err := remove(at + "/o/" + url.PathEscape(o.Name)); err != nil {
			return err
		}
	}
	return remove(at)
}

func remove(at string) error {
	r, err := http.NewRequest(http.MethodDelete, at, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	if err := resp.Body.Close(); err != nil || resp.StatusCode/100 == 2 {
		return err
	}
	return fmt.Errorf("remove %s: %s", at, resp.Status)
}

package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/cloud"
)

// reach returns how a cluster that tenon has made is reached: as its cloud says, with a token that is replaced
// before it expires.
func (o Options) reach(ctx context.Context, name string) (*rest.Config, accounts, error) {
	if o.Reach == nil {
		return nil, nil, fmt.Errorf("the cluster %s is in a cloud that this tenon does not know", name)
	}
	access, err := o.Reach(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	config := &rest.Config{Host: access.Host, TLSClientConfig: rest.TLSClientConfig{CAData: access.CA}}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &bearer{next, access.Token} })
	return config, access.Account, nil
}

// accounts returns the annotations that a cloud needs of the service account of a unit. It may be nil.
type accounts func(ctx context.Context, unit string) (map[string]string, error)

// identify makes the service account of a unit, or updates it. All versions of a unit share it: without it, pods of
// another version would lose their credentials.
func (s Settings) identify(ctx context.Context, l *link, u ir.Unit) error {
	account := s.account(u)
	if l.accounts != nil {
		more, err := l.accounts(ctx, u.ID)
		if err != nil {
			return err
		}
		account.Annotations = merged(account.Annotations, more)
	}
	return l.apply(ctx, account)
}

// A bearer adds a token to each request.
type bearer struct {
	next  http.RoundTripper
	token func(context.Context) (string, error)
}

func (b *bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	token, err := b.token(r.Context())
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+token)
	return b.next.RoundTrip(r)
}

// account returns the service account of the pods of a unit, to which its rights in the cloud are given.
func (s Settings) account(u ir.Unit) *corev1.ServiceAccount {
	return &corev1.ServiceAccount{TypeMeta: kind("v1", "ServiceAccount"), ObjectMeta: metav1.ObjectMeta{
		Name: cloud.ServiceAccount(u.ID), Namespace: s.Namespace, Labels: s.labels(u), Annotations: map[string]string{annotationUnit: u.ID},
	}}
}

// furnish makes what a cluster that tenon makes needs besides the objects of units: the namespace, and what its
// cloud says, such as pools of nodes. It removes those that the target no longer has. It does so once.
func (e *Executor) furnish(ctx context.Context, l *link) error {
	c := e.opts.Cluster
	if c == nil {
		return nil
	}
	e.furnishing.Lock()
	defer e.furnishing.Unlock()
	if e.furnished {
		return nil
	}
	err := l.namespaced(ctx)
	keep := map[string]bool{}
	for _, o := range c.Objects {
		if err == nil {
			err = l.put(ctx, o)
		}
		keep[o.Path] = true
	}
	for _, path := range c.Owned {
		if err == nil {
			err = l.removeOthers(ctx, path, keep)
		}
	}
	if err != nil {
		return fmt.Errorf("prepare the cluster %s: %w", c.Name, err)
	}
	e.furnished = true
	return nil
}

// namespaced makes the namespace if it does not exist.
func (c *cluster) namespaced(ctx context.Context) error {
	r, err := c.client(corev1.SchemeGroupVersion)
	if err != nil {
		return err
	}
	err = c.explain(r.Get().AbsPath("/api/v1/namespaces", c.namespace).Do(ctx).Error())
	if !apierrors.IsNotFound(err) {
		return err
	}
	b, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": c.namespace, "labels": owned}})
	if err != nil {
		return err
	}
	err = r.Post().AbsPath("/api/v1/namespaces").SetHeader("Content-Type", "application/json").Body(b).Do(ctx).Error()
	if apierrors.IsAlreadyExists(err) { // by another apply
		return nil
	}
	return c.explain(err)
}

var owned = map[string]any{labelManagedBy: manager}

// put creates or updates an object of a cluster by server-side apply.
func (c *cluster) put(ctx context.Context, o cloud.Object) error {
	r, err := c.client(corev1.SchemeGroupVersion)
	if err != nil {
		return err
	}
	content := maps.Clone(o.Content)
	meta, ok := content["metadata"].(map[string]any)
	if !ok {
		return errors.New(o.Path + " has no metadata")
	}
	meta = maps.Clone(meta)
	meta["labels"] = owned
	content["metadata"] = meta
	b, err := json.Marshal(content)
	if err != nil {
		return err
	}
	err = r.Patch(types.ApplyYAMLPatchType).AbsPath(o.Path).Param("fieldManager", manager).Param("force", "true").Body(b).Do(ctx).Error()
	if err != nil {
		return fmt.Errorf("apply %s: %w", o.Path, c.explain(err))
	}
	return nil
}

// removeOthers removes the objects of tenon in a collection whose paths are not kept.
func (c *cluster) removeOthers(ctx context.Context, path string, keep map[string]bool) error {
	r, err := c.client(corev1.SchemeGroupVersion)
	if err != nil {
		return err
	}
	b, err := r.Get().AbsPath(path).Param("labelSelector", labelManagedBy+"="+manager).Do(ctx).Raw()
	if err != nil {
		return fmt.Errorf("list %s: %w", path, c.explain(err))
	}
	var list struct {
		Items []struct{ Metadata struct{ Name string } }
	}
	if err := json.Unmarshal(b, &list); err != nil {
		return fmt.Errorf("list %s: %w", path, err)
	}
	for _, x := range list.Items {
		at := strings.TrimSuffix(path, "/") + "/" + x.Metadata.Name
		if keep[at] {
			continue
		}
		if err := r.Delete().AbsPath(at).Do(ctx).Error(); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("remove %s: %w", at, c.explain(err))
		}
	}
	return nil
}

package kubernetes

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/tenon-ml/tenon/executors"
)

// An Ingress or an HTTPRoute sends requests from outside of the cluster to the Service of a
// unit. Like the Service, all versions of the unit share it and own it.

var gatewayGroup = schema.GroupVersion{Group: "gateway.networking.k8s.io", Version: "v1"}

// An httpRoute is what tenon writes of an HTTPRoute of the Gateway API. A cluster has that API
// only if somebody installed it.
type httpRoute struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              httpRouteSpec `json:"spec"`
}

type httpRouteSpec struct {
	ParentRefs []parentRef `json:"parentRefs"`
	Hostnames  []string    `json:"hostnames"`
	Rules      []routeRule `json:"rules"`
}

type parentRef struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace,omitempty"`
}

type routeRule struct {
	Matches     []routeMatch  `json:"matches"`
	Filters     []routeFilter `json:"filters,omitempty"`
	BackendRefs []backendRef  `json:"backendRefs"`
}

type routeMatch struct {
	Path pathMatch `json:"path"`
}

type pathMatch struct {
	Type  string `json:"type"`
	Value string `json:"value"`
}

type routeFilter struct {
	Type       string     `json:"type"`
	URLRewrite urlRewrite `json:"urlRewrite"`
}

type urlRewrite struct {
	Path rewrittenPath `json:"path"`
}

type rewrittenPath struct {
	Type               string `json:"type"`
	ReplacePrefixMatch string `json:"replacePrefixMatch"`
}

type backendRef struct {
	Name string `json:"name"`
	Port int32  `json:"port"`
}

func (r *httpRoute) DeepCopyObject() runtime.Object {
	c := *r
	r.ObjectMeta.DeepCopyInto(&c.ObjectMeta)
	return &c // nobody changes the specification
}

// exposed returns the Ingress or HTTPRoute of a unit, or nil.
func (s Settings) exposed(t executors.Task) object {
	x := s.placement(t.Unit).Expose
	if x == nil || t.Unit.Endpoint == nil {
		return nil
	}
	path := cmp.Or(x.Path, "/")
	name, port := s.serviceName(t.Unit.ID), int32(t.Unit.Endpoint.Port)
	meta := metav1.ObjectMeta{Name: name, Namespace: s.Namespace, Labels: s.labels(t.Unit), Annotations: s.annotations(t.Unit)}
	maps.Copy(meta.Annotations, x.Annotations)
	if x.Gateway == "" {
		spec := networkingv1.IngressSpec{Rules: []networkingv1.IngressRule{{Host: x.Host}}}
		spec.Rules[0].HTTP = &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{
			Path: path, PathType: ptr(networkingv1.PathTypePrefix),
			Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: name, Port: networkingv1.ServiceBackendPort{Number: port}}},
		}}}
		if x.Class != "" {
			spec.IngressClassName = &x.Class
		}
		if x.TLS != "" {
			spec.TLS = []networkingv1.IngressTLS{{Hosts: []string{x.Host}, SecretName: x.TLS}}
		}
		return &networkingv1.Ingress{TypeMeta: kind("networking.k8s.io/v1", "Ingress"), ObjectMeta: meta, Spec: spec}
	}
	parent := parentRef{Name: x.Gateway}
	if namespace, name, ok := strings.Cut(x.Gateway, "/"); ok {
		parent = parentRef{name, namespace}
	}
	rule := routeRule{
		Matches:     []routeMatch{{pathMatch{"PathPrefix", path}}},
		BackendRefs: []backendRef{{name, port}},
	}
	if path != "/" {
		rule.Filters = []routeFilter{{"URLRewrite", urlRewrite{rewrittenPath{"ReplacePrefixMatch", "/"}}}}
	}
	return &httpRoute{
		TypeMeta: kind(gatewayGroup.String(), "HTTPRoute"), ObjectMeta: meta,
		Spec: httpRouteSpec{[]parentRef{parent}, []string{x.Host}, []routeRule{rule}},
	}
}

// expose makes a unit's service reachable from outside as its leading version says, and in no
// other way.
func (e *Executor) expose(ctx context.Context, l *link, ts taskState, versions []taskState) error {
	meta := metav1.ObjectMeta{Name: ts.Service}
	for _, o := range []object{
		&networkingv1.Ingress{TypeMeta: kind("networking.k8s.io/v1", "Ingress"), ObjectMeta: meta},
		&httpRoute{TypeMeta: kind(gatewayGroup.String(), "HTTPRoute"), ObjectMeta: meta},
	} {
		var want metav1.TypeMeta
		if ts.exposed != "" {
			if err := json.Unmarshal([]byte(ts.exposed), &want); err != nil {
				return fmt.Errorf("the task state of %s: %w", ts.Name, err)
			}
		}
		wanted := want.Kind == o.GetObjectKind().GroupVersionKind().Kind
		if !wanted && !anyExposed(versions, o) {
			continue // there never was one
		}
		there, err := l.ours(ctx, ts, o)
		if err != nil {
			return err
		}
		switch {
		case wanted:
			if err := json.Unmarshal([]byte(ts.exposed), o); err != nil {
				return fmt.Errorf("the task state of %s: %w", ts.Name, err)
			}
			for _, v := range versions {
				setOwner(v.owner(), o)
			}
			err = l.apply(ctx, o)
			if apierrors.IsNotFound(err) && want.Kind == "HTTPRoute" {
				return fmt.Errorf("the cluster has no Gateway API, which gateway needs: install it, or remove gateway for an Ingress: %w", err)
			}
		case there:
			err = l.delete(ctx, o, metav1.DeleteOptions{})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// anyExposed reports whether one of the versions has an object of this kind.
func anyExposed(versions []taskState, o object) bool {
	for _, v := range versions {
		var has metav1.TypeMeta
		if v.exposed != "" && json.Unmarshal([]byte(v.exposed), &has) == nil && has.Kind == o.GetObjectKind().GroupVersionKind().Kind {
			return true
		}
	}
	return false
}

// ours reports whether an object with o's name exists. One that belongs to somebody else is an error.
func (l *link) ours(ctx context.Context, ts taskState, o object) (bool, error) {
	found := o.DeepCopyObject().(object)
	err := l.get(ctx, found)
	switch {
	case apierrors.IsNotFound(err):
		return false, nil
	case err != nil:
		return false, err
	case found.GetLabels()[labelManagedBy] != manager || found.GetLabels()[labelState] != ts.State:
		what := o.GetObjectKind().GroupVersionKind().Kind
		return false, fmt.Errorf("namespace %s has an object %s %s that is not of this state: remove it, or choose another namespace", ts.Namespace, what, ts.Service)
	}
	return true, nil
}

package aws

import (
	"github.com/tenon-ml/tenon/executors/terraform"
)

// A statement of a policy of IAM.
type statement struct {
	id         string
	comment    string
	deny       bool
	principal  *principal // of policies of roles and resources
	actions    []string
	resources  []terraform.Expr
	conditions []condition
}

// A principal is a service of AWS, or anybody.
type principal struct {
	service string
	any     bool
}

// A condition compares a key of the request with values.
type condition struct {
	operator, key string
	values        []terraform.Expr
}

// policy returns a policy as JSON.
func policy(all ...statement) terraform.Expr {
	list := make([]terraform.Expr, len(all))
	for i, s := range all {
		effect := "Allow"
		if s.deny {
			effect = "Deny"
		}
		fields := []terraform.Field{{Key: "Sid", Value: terraform.Text(s.id)}, {Key: "Effect", Value: terraform.Text(effect), Comment: s.comment}}
		switch p := s.principal; {
		case p == nil:
		case p.any:
			fields = append(fields, terraform.Field{Key: "Principal", Value: terraform.Text("*")})
		default:
			fields = append(fields, terraform.Field{Key: "Principal", Value: terraform.Object(terraform.Field{Key: "Service", Value: terraform.Text(p.service)})})
		}
		fields = append(fields, terraform.Field{Key: "Action", Value: terraform.Texts(s.actions...)})
		if len(s.resources) > 0 {
			fields = append(fields, terraform.Field{Key: "Resource", Value: terraform.List(s.resources...)})
		}
		if len(s.conditions) > 0 {
			fields = append(fields, terraform.Field{Key: "Condition", Value: conditions(s.conditions)})
		}
		list[i] = terraform.Object(fields...)
	}
	return terraform.Call("jsonencode", terraform.Object(
		terraform.Field{Key: "Version", Value: terraform.Text("2012-10-17")},
		terraform.Field{Key: "Statement", Value: terraform.List(list...)},
	))
}

// conditions returns conditions by operator. An operator that is there twice would lose the first.
func conditions(all []condition) terraform.Expr {
	var operators []string
	by := map[string][]terraform.Field{}
	for _, c := range all {
		if by[c.operator] == nil {
			operators = append(operators, c.operator)
		}
		by[c.operator] = append(by[c.operator], terraform.Field{Key: c.key, Value: terraform.List(c.values...)})
	}
	var fields []terraform.Field
	for _, o := range operators {
		fields = append(fields, terraform.Field{Key: o, Value: terraform.Object(by[o]...)})
	}
	return terraform.Object(fields...)
}

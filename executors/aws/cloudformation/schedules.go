package cloudformation

// schedules are the rules of EventBridge. Their targets are properties of the rule.
func schedules() map[string]kind {
	return map[string]kind{
		"aws_cloudwatch_event_rule": {name: "AWS::Events::Rule", properties: map[string]string{"name": "Name", "description": "Description", "schedule_expression": "ScheduleExpression"},
			tags: tagList, refers: []string{"name", "id"}, attributes: attributes("arn", "Arn")},
		"aws_cloudwatch_event_target": {into: "aws_cloudwatch_event_rule", ignored: map[string]string{"rule": "the target is a property of the rule"}, properties: map[string]string{
			"target_id": "Targets[].Id", "arn": "Targets[].Arn", "role_arn": "Targets[].RoleArn",
			"batch_target.job_definition": "Targets[].BatchParameters.JobDefinition", "batch_target.job_name": "Targets[].BatchParameters.JobName",
			"retry_policy.maximum_event_age_in_seconds": "Targets[].RetryPolicy.MaximumEventAgeInSeconds", "retry_policy.maximum_retry_attempts": "Targets[].RetryPolicy.MaximumRetryAttempts"}},
	}
}

"""The workflow: tasks that run one after the other and share a workspace."""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from dj_queue.ids import new_job_id
from dj_queue.models.job import Job
from dj_queue.states import WorkflowState


class Workflow(models.Model):
    """A sequence of steps, each a job of its own that is enqueued when the one before has ended.

    `position` and `workspace` are written in the transaction that enqueues the next step's job, so there
    is one job for each step that has been reached, and `position` is the place of the newest.
    """

    id = models.UUIDField(_("id"), primary_key=True, default=new_job_id, editable=False)
    """A UUID of version 7."""
    backend_alias = models.CharField(_("backend"), max_length=64, default="default")
    steps = models.JSONField(_("steps"))
    """One `{"task_path", "queue_name", "priority", "run_after", "payload"}` for each; times in seconds."""
    position = models.PositiveSmallIntegerField(_("position"), default=0)
    """The step that waits, runs or has failed, counted from 0; the number of steps when all have ended."""
    job_ids = models.JSONField(_("job ids"), default=list)
    """The job of each step that was reached, in order."""
    workspace = models.JSONField(_("workspace"), default=dict)
    """What the steps share, as the last step that ended well has left it."""
    created_at = models.DateTimeField(_("created at"), default=timezone.now)
    updated_at = models.DateTimeField(_("updated at"), default=timezone.now)
    finished_at = models.DateTimeField(_("finished at"), null=True, blank=True)

    class Meta:
        db_table = "dj_queue_workflows"
        verbose_name = _("workflow")
        verbose_name_plural = _("workflows")
        indexes = [
            # Those past their retention.
            models.Index(fields=["finished_at"], name="djq_workflows_finished"),
        ]

    def __str__(self) -> str:
        return f"workflow {self.pk}"

    @property
    def job(self) -> Job | None:
        """The job of the step that was reached last; None when it was deleted."""
        jobs = Job.objects.using(self._state.db).select_related("failed_execution")
        return jobs.filter(pk=self.job_ids[-1]).first()

    @property
    def state(self) -> WorkflowState:
        """Where the workflow is; asks the database for the job of the current step."""
        if self.finished_at is not None:
            return WorkflowState.FINISHED
        job = self.job
        if job is None:
            return WorkflowState.STOPPED
        return WorkflowState.FAILED if hasattr(job, "failed_execution") else WorkflowState.RUNNING

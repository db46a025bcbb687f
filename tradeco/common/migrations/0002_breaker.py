
import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('common', '0001_initial'),
    ]

    operations = [
        migrations.AlterField(
            model_name='event',
            name='kind',
            field=models.CharField(choices=[('company.opened', 'The company opened its books'), ('company.active', 'Trading was resumed'), ('company.reducing', 'Only exits are allowed'), ('company.halted', 'Trading was halted'), ('policy.changed', 'A policy has a new version'), ('trigger.fired', 'A trigger fired'), ('proposal.created', 'An agent or a person proposed'), ('proposal.waiting', 'A proposal waits for people'), ('proposal.approved', 'A proposal was approved'), ('proposal.rejected', 'A proposal was rejected'), ('proposal.cancelled', 'A proposal was withdrawn'), ('proposal.expired', 'A proposal expired undecided'), ('vote.cast', 'An agent voted'), ('mission.approved', 'A mission was opened'), ('mission.running', 'Work on a mission began'), ('mission.succeeded', 'A mission succeeded'), ('mission.failed', 'A mission failed'), ('mission.cancelled', 'A mission was cancelled'), ('step.claimed', 'A worker claimed a step'), ('step.succeeded', 'A step succeeded'), ('step.failed', 'A step failed'), ('step.retried', 'A step goes back to the queue'), ('step.recovered', 'A step was taken back from a lost worker'), ('step.cancelled', 'A step was cancelled'), ('step.in_doubt', 'A step needs reconciliation'), ('step.settled', 'A step in doubt was settled'), ('order.reserved', 'Money was reserved for an order'), ('order.submitted', 'An order was sent to the venue'), ('order.filled', 'An order was filled'), ('order.failed', 'An order failed'), ('order.expired', 'An order expired unsent'), ('order.cancelled', 'An order was cancelled'), ('order.in_doubt', "An order's outcome is unknown"), ('order.final', "A fill can't be undone by the chain any more"), ('order.vanished', 'A fill vanished from the chain and was reversed'), ('books.opened', 'What the wallet held on chain was booked'), ('finding.opened', 'Reconciliation found what nobody can explain'), ('finding.settled', 'A finding was settled'), ('position.opened', 'A position was opened'), ('position.changed', 'A position grew or shrank'), ('position.closed', 'A position was closed'), ('position.win', 'A position won more than the trigger asks'), ('position.loss', 'A position lost more than the trigger asks'), ('position.alarm', 'An open position is deep in the red'), ('positions.many', 'Many positions are open'), ('stop.hit', 'A stop was hit'), ('take_profit.hit', 'A take-profit was hit'), ('hold.ended', 'A position was held as long as policy allows'), ('signal.found', 'An analysis found signals'), ('signal.strong', 'A signal is strong'), ('risk.assessed', 'The risk was assessed'), ('positions.reviewed', 'Open positions were reviewed'), ('agent.reflected', 'An agent looked back'), ('market.opened', 'A market process took over'), ('market.prices', 'New prices'), ('market.ended', 'The price file is at its end'), ('equity.snapshot', 'Equity was measured'), ('beat.finished', 'A heartbeat ended'), ('alarm', 'Something needs a person')], max_length=40),
        ),
        migrations.CreateModel(
            name='Breaker',
            fields=[
                ('name', models.CharField(max_length=60, primary_key=True, serialize=False)),
                ('failures', django.contrib.postgres.fields.ArrayField(base_field=models.DateTimeField(), default=list, help_text='While closed: those within the window of the last one', size=None)),
                ('opened_at', models.DateTimeField(null=True)),
                ('probe_at', models.DateTimeField(null=True)),
                ('last_error', models.CharField(blank=True, max_length=200)),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(models.Q(('opened_at__isnull', True), ('probe_at__isnull', True)), models.Q(('opened_at__isnull', False), ('probe_at__isnull', False)), _connector='OR'), name='breaker_probed_iff_open')],
            },
        ),
    ]

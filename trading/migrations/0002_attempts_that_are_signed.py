import django.core.serializers.json
import tradeco.common.fields
from django.db import migrations, models


FORWARD = """
UPDATE trading_attempt SET status = CASE status
  WHEN 'sent' THEN 'broadcast' WHEN 'confirmed' THEN 'finalized' WHEN 'failed' THEN 'refused' ELSE status END
"""
BACK = """
UPDATE trading_attempt SET
  status = CASE WHEN status IN ('signed', 'broadcast') THEN 'sent' WHEN status = 'finalized' THEN 'confirmed'
    WHEN status IN ('failed_onchain', 'refused') THEN 'failed' ELSE status END,
  reference = coalesce(reference, 'unsigned:' || id)
"""


class Migration(migrations.Migration):

    dependencies = [
        ('trading', '0001_initial'),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name='attempt',
            name='order_one_open_attempt',
        ),
        migrations.AddField(
            model_name='attempt',
            name='evidence',
            field=models.JSONField(blank=True, default=dict, encoder=django.core.serializers.json.DjangoJSONEncoder),
        ),
        migrations.AddField(
            model_name='attempt',
            name='payload',
            field=models.BinaryField(blank=True, help_text='The signed transaction, sent as it is', null=True),
        ),
        migrations.AddField(
            model_name='attempt',
            name='slot',
            field=models.PositiveBigIntegerField(blank=True, help_text='Where it landed', null=True),
        ),
        migrations.AddField(
            model_name='attempt',
            name='unanswered',
            field=models.PositiveSmallIntegerField(default=0, help_text='Looks in a row that told nothing'),
        ),
        migrations.AddField(
            model_name='attempt',
            name='valid_until',
            field=models.PositiveBigIntegerField(blank=True, help_text='Last block height at which it can land', null=True),
        ),
        migrations.AddField(
            model_name='fill',
            name='cost_quote',
            field=tradeco.common.fields.RawAmountField(blank=True, help_text='Cost of what a sale gave away', null=True),
        ),
        migrations.AddField(
            model_name='fill',
            name='network_fee',
            field=tradeco.common.fields.RawAmountField(default=0, help_text='Lamports that the network took'),
        ),
        migrations.AddField(
            model_name='fill',
            name='network_fee_quote',
            field=tradeco.common.fields.RawAmountField(default=0, help_text="The network's fee in the quote asset, at SOL's price then"),
        ),
        migrations.AddField(
            model_name='fill',
            name='rent',
            field=tradeco.common.fields.RawAmountField(default=0, help_text='Lamports deposited for accounts that it opened'),
        ),
        migrations.AddField(
            model_name='fill',
            name='reversed_at',
            field=models.DateTimeField(blank=True, help_text='When it turned out to have vanished', null=True),
        ),
        migrations.AddField(
            model_name='wallet',
            name='network',
            field=models.CharField(default='paper', help_text='Where it lives; a company never changes it', max_length=10),
        ),
        migrations.AlterField(
            model_name='account',
            name='kind',
            field=models.CharField(choices=[('wallet', 'Wallet'), ('capital', 'Capital paid in'), ('venue', 'Exchanged at the venue'), ('fees', 'Fees paid'), ('network', 'Fees of the network'), ('rent', 'Deposits for accounts on chain'), ('drift', 'Moved by hand')], max_length=10),
        ),
        migrations.AlterField(
            model_name='attempt',
            name='reference',
            field=models.CharField(blank=True, help_text='The signature on chain', max_length=100, null=True, unique=True),
        ),
        migrations.AlterField(
            model_name='attempt',
            name='status',
            field=models.CharField(choices=[('quoted', 'Quoted, not signed'), ('signed', 'Signed, about to be sent'), ('broadcast', 'Sent'), ('confirmed', 'Confirmed'), ('finalized', 'Final'), ('failed_onchain', 'Failed at the venue'), ('refused', 'Refused before it was taken'), ('expired', 'Proven not to have landed'), ('in_doubt', 'In doubt')], default='quoted', max_length=14),
        ),
        migrations.AlterField(
            model_name='ledgertransaction',
            name='kind',
            field=models.CharField(choices=[('opening', 'Opening cash'), ('fill', 'Fill'), ('fee', 'Fee of a failed transaction'), ('reversal', 'A fill that vanished'), ('movement', 'Moved by hand')], max_length=10),
        ),
        migrations.AlterField(
            model_name='wallet',
            name='address',
            field=models.CharField(blank=True, help_text='Public key on chain', max_length=44),
        ),
        migrations.RunSQL(
            sql=FORWARD,
            reverse_sql=BACK,
        ),
        migrations.AddIndex(
            model_name='attempt',
            index=models.Index(condition=models.Q(('status__in', ['quoted', 'signed', 'broadcast', 'in_doubt', 'confirmed'])), fields=['id'], name='attempt_unsettled'),
        ),
        migrations.AddConstraint(
            model_name='attempt',
            constraint=models.UniqueConstraint(condition=models.Q(('status__in', ['quoted', 'signed', 'broadcast', 'in_doubt'])), fields=('order',), name='order_one_open_attempt'),
        ),
        migrations.AddConstraint(
            model_name='attempt',
            constraint=models.CheckConstraint(condition=models.Q(('sends', 0), ('reference__isnull', False), _connector='OR'), name='attempt_signed_before_sent'),
        ),
    ]

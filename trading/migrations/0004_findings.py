
import django.core.serializers.json
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('trading', '0003_true_mint_of_usdc'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name='asset',
            name='checked_at',
            field=models.DateTimeField(blank=True, help_text='When its safety was last asked for', null=True),
        ),
        migrations.AddField(
            model_name='asset',
            name='freeze_authority_disabled',
            field=models.BooleanField(default=False, help_text='Nobody can freeze what we hold'),
        ),
        migrations.AddField(
            model_name='asset',
            name='liquidity_usd',
            field=models.DecimalField(blank=True, decimal_places=2, max_digits=20, null=True),
        ),
        migrations.AddField(
            model_name='asset',
            name='mint_authority_disabled',
            field=models.BooleanField(default=False, help_text='Nobody can make more of it'),
        ),
        migrations.AddField(
            model_name='asset',
            name='verified',
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name='wallet',
            name='newest_signature',
            field=models.CharField(blank=True, help_text='How far its transactions were looked at', max_length=100),
        ),
        migrations.AddField(
            model_name='wallet',
            name='reconciled_at',
            field=models.DateTimeField(blank=True, help_text='When books and chain were last compared', null=True),
        ),
        migrations.AlterField(
            model_name='market',
            name='base',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='market_bases', to='trading.asset'),
        ),
        migrations.CreateModel(
            name='Finding',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(choices=[('unknown_signature', 'Signed with our key, and not by us'), ('movement', 'Moved by somebody else'), ('balance_drift', 'The chain holds another amount than the books'), ('vanished', 'A confirmed trade is gone from the chain')], max_length=20)),
                ('key', models.CharField(help_text='The signature, or the mint', max_length=100)),
                ('what', models.CharField(max_length=300)),
                ('evidence', models.JSONField(default=dict, encoder=django.core.serializers.json.DjangoJSONEncoder)),
                ('opened_at', models.DateTimeField()),
                ('settled_at', models.DateTimeField(blank=True, null=True)),
                ('how', models.CharField(blank=True, max_length=20)),
                ('reason', models.CharField(blank=True, max_length=500)),
                ('settled_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('wallet', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='findings', to='trading.wallet')),
            ],
            options={
                'indexes': [models.Index(condition=models.Q(('settled_at__isnull', True)), fields=['-opened_at'], name='finding_open'), models.Index(fields=['-id'], name='finding_newest')],
                'constraints': [models.UniqueConstraint(condition=models.Q(('settled_at__isnull', True)), fields=('wallet', 'kind', 'key'), name='finding_open_once'), models.CheckConstraint(condition=models.Q(models.Q(('how', ''), ('settled_at__isnull', True)), models.Q(('settled_at__isnull', False), models.Q(('how', ''), _negated=True)), _connector='OR'), name='finding_settled_somehow')],
            },
        ),
    ]
